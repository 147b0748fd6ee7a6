"""Bedrock, as far as the product uses it: imports of tuned models, calls of imported models, and judges."""
