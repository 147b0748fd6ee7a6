"""Bedrock, as far as the product uses it: imports of tuned models, and calls of imported models."""
