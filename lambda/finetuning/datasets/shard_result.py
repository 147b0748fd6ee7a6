"""What one shard reports about its rows: counts that are added up over shards, first errors, samples, longest rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pydantic import Field

from finetuning.datasets.data_errors import BREAKS_OFF, DataError, keep_frequent
from finetuning.datasets.token_sample import TokenSample, length_classes
from finetuning.errors import limited_text
from finetuning.lazy_model import LazyModel

TRAIN, VALIDATION, TEST = "train", "validation", "test"
"""The channels: training and validation as JumpStart takes them, and the upload's own test rows."""

MAX_ERRORS = 100
"""Errors that are listed; all are counted."""

SAMPLES = 3
"""Rows kept to be shown."""


class LineError(LazyModel):
    """A line that cannot be used. `element`: its number in a JSON array, from 1; 0 for other rows. `path`: the place in
    the row; `snippet`: the row's start, with control characters escaped.
    """

    file: str
    line: int
    path: str
    code: str
    message: str
    fix: str
    snippet: str = ""
    element: int = 0

    @property
    def where(self) -> str:
        """`faq.json line 1, element 12`."""
        line = f" line {self.line}" if self.line else ""
        return self.file + line + (f", element {self.element}" if self.element else "")


class Tally(LazyModel):
    """Counts of the rows read. They are added up over shards."""

    blank: int = 0
    duplicates: int = 0
    dropped: int = 0
    """Rows left out on request."""
    over_budget: int = 0
    """Those of them that `data.max_tokens` leaves out."""
    lines: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    turns: int = 0
    characters: int = 0
    repaired: int = 0
    numbers_as_text: int = 0
    empty_systems: int = 0
    """Empty system turns that were left out."""
    marked: int = 0
    """Answers marked not to be learned that are trained on, on request."""
    special_tokens: int = 0
    """Rows in whose texts special tokens of a chat template are written out."""
    train_lengths: Counter[int] = Field(default_factory=Counter)
    validation_lengths: Counter[int] = Field(default_factory=Counter)
    test_lengths: Counter[int] = Field(default_factory=Counter)
    """Rows of a channel by their class of length."""
    scripts: Counter[str] = Field(default_factory=Counter)
    shapes: Counter[str] = Field(default_factory=Counter)
    ignored: Counter[str] = Field(default_factory=Counter)
    error_counts: Counter[str] = Field(default_factory=Counter)

    def add(self, other: "Tally", times: int = 1) -> None:
        """Adds another tally, or subtracts it (`times=-1`)."""
        for name in Tally.model_fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if isinstance(mine, Counter):
                for key, count in theirs.items():
                    mine[key] += times * count
                    if not mine[key]:
                        del mine[key]
            else:
                setattr(self, name, mine + times * theirs)
        keep_frequent(self.ignored)

    def count(self, channel: str, sizes: Iterable[int], times: int = 1) -> list[int]:
        """Adds rows of so many bytes to a channel, or subtracts them (`times=-1`). Returns their classes."""
        classes = length_classes(sizes)
        self._count_classes(channel, Counter(classes), times)
        return classes

    def move(self, of: str, to: str, classes: Counter[int]) -> None:
        """Moves rows of these classes to another channel."""
        self._count_classes(of, classes, times=-1)
        self._count_classes(to, classes)

    def _count_classes(self, channel: str, classes: Counter[int], times: int = 1) -> None:
        lengths = self.lengths[channel]
        for each, rows in classes.items():
            lengths[each] += times * rows
        setattr(self, channel, getattr(self, channel) + times * classes.total())

    @property
    def lengths(self) -> dict[str, Counter[int]]:
        """The rows of each channel by their class of length."""
        return {TRAIN: self.train_lengths, VALIDATION: self.validation_lengths, TEST: self.test_lengths}

    @property
    def kept(self) -> int:
        return self.train + self.validation + self.test

    @property
    def errors(self) -> int:
        return sum(self.error_counts.values())


class Rows(LazyModel):
    """kept + duplicates + dropped + errors + blank = lines; train + validation + test = kept. `dropped`: left out
    because run.json says so.

    A line is a line of JSONL or text, an element of a JSON array, a row of CSV or Parquet.
    """

    lines: int = 0
    kept: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    duplicates: int = 0
    dropped: int = 0
    errors: int = 0
    blank: int = 0

    @property
    def held_out(self) -> int:
        return self.validation + self.test


class Sample(LazyModel):
    """A kept row, converted."""

    digest: str
    row: dict[str, Any]


class LongestRow(LazyModel):
    """`size`: bytes of the row as written."""

    size: int
    line: int
    digest: str


class Written(LazyModel):
    """What a shard wrote for a channel: `rows` with their digests (a text has none), and their bytes."""

    rows: int = 0
    size: int = 0


class ShardResult(LazyModel):
    """What one shard reports. Line numbers count from the shard's first line."""

    tally: Tally = Field(default_factory=Tally)
    written: dict[str, Written] = Field(default_factory=dict)
    errors: list[LineError] = Field(default_factory=list)
    samples: list[Sample] = Field(default_factory=list)
    longest: list[LongestRow] = Field(default_factory=list)
    sample: TokenSample = Field(default_factory=TokenSample)
    broken_off: bool = False
    """Whether the file is incomplete or damaged, so that rows are missing."""

    def refuse(self, file: str, line: int, error: DataError, raw: Any, element: int = 0) -> None:
        """Counts a record that cannot be used, and lists it if there is room."""
        self.tally.error_counts[error.code] += 1
        self.broken_off = self.broken_off or error.code in BREAKS_OFF
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(
                LineError(
                    file=file,
                    line=line,
                    path=limited_text(error.path),
                    code=error.code,
                    message=limited_text(error.message),
                    fix=error.fix,
                    snippet=_snippet(raw),
                    element=element,
                )
            )


SNIPPET = 160


def _snippet(raw: Any) -> str:
    """The start of a record, with control characters escaped."""
    if isinstance(raw, DataError):
        return ""
    data = raw if isinstance(raw, bytes) else orjson.dumps({key: value[:SNIPPET] for key, value in _printable(raw)})
    text = data[: SNIPPET * 4].decode(errors="backslashreplace").strip()
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[:SNIPPET])
    return shown + ("…" if len(data) > SNIPPET else "")


def _printable(row: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key, value.encode(errors="backslashreplace").decode()) for key, value in row.items()]
