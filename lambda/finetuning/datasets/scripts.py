"""The script a row is written in, by the blocks of Unicode."""

import re
from bisect import bisect
from collections import Counter
from functools import lru_cache

LATIN = "Latin"
_BEYOND_LATIN = re.compile(
    "[\u0370-\u1dbf\u2c00-\u2dff\u2e80-\ud7ff\uf900-\ufdff\ufe70-\ufefe\uff66-\uff9f\U00010000-\U0001f000\U00020000-\U0003ffff]"
)
_BLOCKS = (
    (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian"), (0x0590, "Hebrew"), (0x0600, "Arabic"),
    (0x0900, "Devanagari"), (0x0980, "other"), (0x0B80, "Tamil"), (0x0C00, "other"), (0x0E00, "Thai"),
    (0x0E80, "other"), (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "other"), (0x2E80, "Han"),
    (0x3040, "Kana"), (0x3100, "Han"), (0xA000, "other"), (0xAC00, "Hangul"), (0xD7B0, "other"), (0xF900, "Han"),
    (0xFB00, "other"), (0xFE70, "Arabic"), (0xFF00, "Kana"), (0x10000, "other"), (0x20000, "Han"),
)  # fmt: skip
_STARTS = [start for start, _ in _BLOCKS]
SCRIPT_SAMPLE = 256
"""Bytes of a row that decide its script."""

LETTERS = 32
"""Letters of the sample that decide it."""

_ASCII = bytes(range(128))


@lru_cache(maxsize=4096)
def _script_of_letter(letter: str) -> str:
    return _BLOCKS[bisect(_STARTS, ord(letter)) - 1][1]


def script_of(out: bytes) -> str:
    """The script of a row, by its first bytes: Latin unless a sixth of it is not. Han with kana is Japanese."""
    sample = out[:SCRIPT_SAMPLE]
    if sample.isascii() or len(sample.translate(None, _ASCII)) * 6 < len(sample):
        return LATIN
    text = sample.decode(errors="ignore")
    letters = _BEYOND_LATIN.findall(text)
    if len(letters) * 6 < len(text):
        return LATIN
    counts = Counter(map(_script_of_letter, letters[:LETTERS]))
    return "Japanese" if counts["Kana"] else counts.most_common(1)[0][0]
