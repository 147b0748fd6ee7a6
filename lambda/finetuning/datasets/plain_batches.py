"""Prepares a batch of conversations at once, if all of them are valid and written in the same plain layout.

msgspec reads rows of a given layout and refuses others, so that few calls are enough for hundreds of rows. A batch in
which a single row is not plain is left to the inner loop, row by row. The result is always the same as the inner
loop's.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from io import BytesIO
from itertools import accumulate, chain, repeat
from operator import attrgetter, contains, sub
from typing import Any, Literal, NamedTuple

import msgspec
from xxhash import xxh3_128_digest as digest_of

from finetuning.datasets.dialogs import ASSISTANT, SYSTEM, USER
from finetuning.datasets.marked_text import has_special_token
from finetuning.datasets.shape import Keys
from finetuning.datasets.shapes import shape_of

LONGEST_PAUSE = 64


class _Turn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _Row(msgspec.Struct, gc=False):
    """A row as it is written."""

    dialog: list[_Turn]


_TURNS: Callable[[Any], list[_Turn]] = attrgetter("turns")
_ROLE: Callable[[_Turn], str] = attrgetter("role")
_CONTENT: Callable[[_Turn], str] = attrgetter("content")
_written = msgspec.json.Encoder().encode_lines


@cache
def _reader(column: str) -> Callable[[Any], Any]:
    """Reads the `turns` of rows that have one column, which has them."""
    row = msgspec.defstruct(
        "Row", [("turns", list[_Turn])], rename={"turns": column}, gc=False, forbid_unknown_fields=True
    )
    return msgspec.json.Decoder(row).decode


class PlainBatch(NamedTuple):
    """The rows of a batch: their keys, the number of turns of each, the characters of all, the rows as written, their
    digests, the digests as numbers, and how many rows have special tokens in their texts.
    """

    keys: Keys
    turns: Sequence[int]
    characters: int
    written: Sequence[bytes]
    digests: Sequence[bytes]
    numbers: Sequence[int]
    special_tokens: int


class PlainBatches:
    """Finds the plain batches of a chat dataset. After a batch that is not plain it skips some.

    `layouts`: the bytes that rows lose when they are written, with their number of turns, as the inner loop has checked
    them. A plain batch has no others, so a key that is there twice, or a value over two lines, is never plain.
    `seen`: digests of all rows so far, as numbers. A plain batch has none of them; its own are added.
    """

    def __init__(self, layouts: set[tuple[int, int]], seen: set[int]) -> None:
        self._layouts, self._seen = layouts, seen
        self._column = ""
        self._pause = self._skip = 0

    def learn(self, row: Any) -> None:
        """Notes the keys of a row with a new layout."""
        keys = tuple(row) if isinstance(row, dict) else ()
        shape = shape_of(keys)
        self._column = (shape.turns_key(keys) if shape else "") or self._column

    def find(self, records: Sequence[Any]) -> PlainBatch | None:
        """The batch, if all its records are plain rows and none is a duplicate."""
        if not self._column:
            return None
        if self._skip:
            self._skip -= 1
            return None
        found = self._read(records)
        self._pause = 0 if found else min(2 * self._pause + 1, LONGEST_PAUSE)
        self._skip = self._pause
        return found

    def _read(self, records: Sequence[Any]) -> PlainBatch | None:
        try:
            dialogs = list(map(_TURNS, map(_reader(self._column), records)))
        except (ValueError, TypeError):
            return None  # not plain: its rows are read one by one
        turns = list(map(len, dialogs))
        flat = list(chain.from_iterable(dialogs))
        contents = list(map(_CONTENT, flat))
        if not alternate(list(map(_ROLE, flat)), turns) or not all_said(contents):
            return None
        together = _written(list(map(_Row, dialogs)))
        written = BytesIO(together).readlines()
        lost: Iterable[int] = map(sub, map(len, records), map(len, written))
        if not self._layouts.issuperset(zip(lost, turns, strict=True)):
            return None
        digests = list(map(digest_of, written))
        numbers = list(map(int.from_bytes, digests))
        distinct = set(numbers)
        if len(distinct) < len(numbers) or not self._seen.isdisjoint(distinct):
            return None
        self._seen |= distinct
        special = sum(map(has_special_token, written)) if has_special_token(together) else 0
        return PlainBatch((self._column,), turns, sum(map(len, contents)), written, digests, numbers, special)


def all_said(contents: Sequence[str]) -> bool:
    """True if every content has text, and none has a NUL."""
    return all(contents) and not any(map(str.isspace, contents)) and not any(map(contains, contents, repeat("\0")))


def alternate(roles: Sequence[str], turns: Sequence[int]) -> bool:
    """True if every dialog alternates questions and answers, after a system turn or none.

    `turns`: how many of the roles belong to each dialog.
    """
    if not all(turns):
        return False
    if SYSTEM in roles:
        ends = list(accumulate(turns, initial=0))
        asked = [start + (roles[start] == SYSTEM) for start in ends[:-1]]
        turns = list(map(sub, ends[1:], asked))
        roles = list(chain.from_iterable(map(roles.__getitem__, map(slice, asked, ends[1:]))))
    return (
        all(turns)
        and not any(count & 1 for count in turns)
        and set(roles[::2]) == {USER}
        and set(roles[1::2]) == {ASSISTANT}
    )
