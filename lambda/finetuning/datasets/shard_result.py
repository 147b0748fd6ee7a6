"""What one shard reports about its rows: counts that are added up over shards, first errors, samples, longest rows."""

from collections import Counter
from typing import Any

from pydantic import BaseModel, Field

TRAIN, VALIDATION = "train", "validation"

MAX_ERRORS = 100
"""Errors that are listed; all are counted."""

SAMPLES = 3
"""Rows kept to be shown."""


class LineError(BaseModel):
    """A line that cannot be used. `path`: the place in the row; `snippet`: the row's start, with control characters
    escaped.
    """

    file: str
    line: int
    path: str
    code: str
    message: str
    fix: str
    snippet: str = ""


class Tally(BaseModel):
    """Counts of the rows read. They are added up over shards."""

    blank: int = 0
    duplicates: int = 0
    lines: int = 0
    train: int = 0
    validation: int = 0
    train_tokens: int = 0
    validation_tokens: int = 0
    turns: int = 0
    characters: int = 0
    truncated: int = 0
    repaired: int = 0
    numbers_as_text: int = 0
    histogram: Counter[int] = Field(default_factory=Counter)
    """Rows by the number of binary digits of their token count."""
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

    def count(self, channel: str, rows: int, tokens: int) -> None:
        """Adds to a channel, `train` or `validation`."""
        setattr(self, channel, getattr(self, channel) + rows)
        setattr(self, f"{channel}_tokens", getattr(self, f"{channel}_tokens") + tokens)

    @property
    def kept(self) -> int:
        return self.train + self.validation

    @property
    def errors(self) -> int:
        return sum(self.error_counts.values())


class Sample(BaseModel):
    """A kept row, converted."""

    digest: str
    row: dict[str, Any]


class LongestRow(BaseModel):
    tokens: int
    line: int
    digest: str


class ShardResult(BaseModel):
    """What one shard reports. Line numbers count from the shard's first line."""

    tally: Tally = Field(default_factory=Tally)
    errors: list[LineError] = Field(default_factory=list)
    samples: list[Sample] = Field(default_factory=list)
    longest: list[LongestRow] = Field(default_factory=list)
    broken_off: bool = False
    """Whether the file is incomplete or damaged, so that rows are missing."""
