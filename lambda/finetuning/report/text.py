"""Makes text from data or a model safe to display: invisible characters become visible."""

import re

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Replaces control characters, bidirectional controls and lone surrogates by visible symbols.

    They could control a terminal, reverse the reading direction of a line, or fail to encode. Line feeds and tabs are
    kept; CRLF becomes LF.
    """
    return _INVISIBLE.sub(_symbol, text.replace("\r\n", "\n"))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters, with an ellipsis if the text is longer."""
    return text if len(text) <= limit else text[:limit].rstrip() + " …"
