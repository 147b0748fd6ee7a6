"""Makes text from data or a model safe to display: invisible characters become visible."""

import re

_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
"""Control characters, lone surrogates, and Unicode's format characters (category Cf), except those that shape letters:
the joiners U+200C and U+200D, and the Arabic number signs."""


def visible(text: str) -> str:
    r"""Replaces control characters by their symbols (␛), and other invisible characters by escapes (\u200b).

    They could control a terminal, reverse the reading direction of a line, or fail to encode. Line feeds and tabs are
    kept; CRLF becomes LF.
    """
    return _INVISIBLE.sub(_symbol, text.replace("\r\n", "\n"))


def _symbol(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters, with an ellipsis if the text is longer."""
    return text if len(text) <= limit else text[:limit].rstrip() + " …"
