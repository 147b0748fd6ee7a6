"""A batch of conversations that are all as they should be, taken at once.

Parsing, looking and writing are then a handful of calls for hundreds of rows. Whatever is not plain about a single one
of them is for the inner loop, row by row: this only ever says yes to what that would take just the same.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter, sub
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_128_digest as digest_of

from finetuning.datasets.dialogs import ASSISTANT, USER
from finetuning.datasets.prompts import Message
from finetuning.datasets.shapes import Keys, shape_of

NUL = b"\\u0000"
"""As JSON writes it."""

LONG_ROW = 1024
"""Bytes of a row, on average, above which nothing is won: its bytes then cost more than the calls made for it."""

LONGEST_PAUSE = 64
_TURN = {("role", "content")}
_ROLE: Callable[[Message], str] = itemgetter("role")
_CONTENT: Callable[[Message], str] = itemgetter("content")


class PlainBatch(NamedTuple):
    """The rows of a batch: their keys, the turns of each, the characters of each turn, the rows as written, digests."""

    keys: Keys
    turns: Sequence[int]
    characters: Sequence[int]
    written: Sequence[bytes]
    digests: Sequence[bytes]


class PlainBatches:
    """Finds the plain batches of a chat dataset; stops looking for a while where there are none.

    `layouts`: what rows lose when they are written, with their turns, as the inner loop found it right. A batch has no
    others: so a key that is there twice, or a value that spreads over two lines, is never taken for plain.
    `seen`: digests of the rows so far, as numbers. A batch has none of them, and adds its own.
    """

    def __init__(self, layouts: set[tuple[int, int]], seen: set[int]) -> None:
        self._layouts, self._seen = layouts, seen
        self._pause = self._skip = 0

    def find(self, records: Sequence[Any]) -> PlainBatch | None:
        """The batch, where every one of its records is a plain row, and none a duplicate."""
        if self._skip:
            self._skip -= 1
            return None
        found = self._read(records) if self._layouts else None
        self._pause = 0 if found else min(2 * self._pause + 1, LONGEST_PAUSE)
        self._skip = self._pause if self._layouts else 0
        return found

    def _read(self, records: Sequence[Any]) -> PlainBatch | None:
        try:
            text = b",".join(records)
            if len(text) > LONG_ROW * len(records):
                return None
            rows = orjson.loads(b"[%b]" % text)
            (keys,) = set(map(tuple, rows))
            shape = shape_of(keys)
            key = shape.turns_key(keys) if shape else ""
            if not key or len(rows) != len(records) or text.rfind(NUL) >= 0:
                return None
            dialogs = [row[key] for row in rows]
            turns = list(map(len, dialogs))
            flat: list[Message] = list(chain.from_iterable(dialogs))
            contents = list(map(_CONTENT, flat))
            if not (
                set(map(tuple, flat)) == _TURN
                and alternate(list(map(_ROLE, flat)), turns)
                and all(map(str.strip, contents))
            ):
                return None
            written = [orjson.dumps({"dialog": dialog}, None, orjson.OPT_APPEND_NEWLINE) for dialog in dialogs]
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, TypeError, ValueError, KeyError):
            return None
        lost: Iterable[int] = map(sub, map(len, records), map(len, written))
        if not self._layouts.issuperset(zip(lost, turns, strict=True)):
            return None
        digests = list(map(digest_of, written))
        numbers = set(map(int.from_bytes, digests))
        if len(numbers) < len(digests) or not self._seen.isdisjoint(numbers):
            return None
        self._seen |= numbers
        return PlainBatch(keys, turns, list(map(len, contents)), written, digests)


def alternate(roles: Sequence[str], turns: Sequence[int]) -> bool:
    """Whether every dialog, given as so many of the roles, is of questions with their answers and nothing else."""
    return (
        all(turns)
        and not any(count % 2 for count in turns)
        and set(roles[::2]) == {USER}
        and set(roles[1::2]) == {ASSISTANT}
    )
