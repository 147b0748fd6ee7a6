"""Text that came from data or a model, made safe to show: what cannot be seen is made visible."""

import re

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with control characters replaced by a sign for them.

    Those could drive a terminal, reverse the reading direction of a whole line, or not be encodable at all. Line feeds
    and tabs stay; a carriage return before a line feed goes.
    """
    return _INVISIBLE.sub(_sign, text.replace("\r\n", "\n"))


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where some were left out."""
    return text if len(text) <= limit else text[:limit].rstrip() + " …"
