"""The one account of the emulated AWS, and the credentials of whoever uses it from outside."""

ACCOUNT = "000000000000"
OPERATOR_KEY = ACCOUNT
OPERATOR_SECRET = "rehearsal"  # noqa: S105 — signs bearer tokens; nothing else is checked  # pragma: allowlist secret
