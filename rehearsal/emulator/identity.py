"""The one account of an emulated AWS, and the credentials of whoever uses it from outside."""

import os

ACCOUNT_VARIABLE = "MINISTACK_ACCOUNT_ID"
ACCOUNT = os.environ.get(ACCOUNT_VARIABLE, "000000000000")
OPERATOR_KEY = ACCOUNT
OPERATOR_SECRET = "rehearsal"  # noqa: S105 — signs bearer tokens; nothing else is checked  # pragma: allowlist secret
