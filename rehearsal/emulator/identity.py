"""The one account of the emulated AWS."""

ACCOUNT = "000000000000"
