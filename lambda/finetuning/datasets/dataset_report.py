"""dataset.json: what was found in the data, what became of every line, and what the model will see.

Token counts are estimates, no tokenizer at hand: a token for every four bytes of the row as it is written in UTF-8, its
JSON brackets and role names standing for the chat template's own tokens. English comes out a little high, code and
other scripts about right.
"""

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from finetuning.datasets.templates import Template
from finetuning.jumpstart.family import Task

TRAIN, VALIDATION = "train", "validation"

MAX_ERRORS = 100
"""Errors listed one by one; all are counted."""

LONGEST = 5
HOW_ESTIMATED = "a token for every four bytes of the row as written (UTF-8), plus the template's for instructions"


def tokens_of(size: int) -> int:
    """Estimated tokens of so many bytes."""
    return (size + 3) >> 2


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Rows(Model):
    """kept + duplicates + errors + blank = lines; train + validation = kept.

    A line is a line of JSONL or text, an element of a JSON array, a row of CSV or Parquet.
    """

    lines: int = 0
    kept: int = 0
    train: int = 0
    validation: int = 0
    duplicates: int = 0
    errors: int = 0
    blank: int = 0


class LineError(Model):
    """A line that cannot be used. `path`: where in the row; `snippet`: its start, control characters escaped."""

    file: str
    line: int
    path: str
    code: str
    message: str
    fix: str
    snippet: str = ""


class LongRow(Model):
    file: str
    line: int
    tokens: int


class Bucket(Model):
    """Rows of `at_least` to `below` estimated tokens."""

    at_least: int
    below: int
    rows: int


class Statistics(Model):
    """Of the rows kept. `truncated`: rows longer than `max_input_length` tokens, whose end the training cuts off."""

    turns: int = 0
    characters: int = 0
    tokens: int = 0
    train_tokens: int = 0
    validation_tokens: int = 0
    longest: list[LongRow] = Field(default_factory=list)
    histogram: list[Bucket] = Field(default_factory=list)
    scripts: dict[str, int] = Field(default_factory=dict)
    max_input_length: int | None = None
    truncated: int = 0
    token_estimate: str = HOW_ESTIMATED


class FileReport(Model):
    """A file of the upload: what it was taken for, and why."""

    path: str
    format: str | None
    compressed: bool
    shape: str
    why: str
    lines: int = 0
    size: int = 0


class Refusal(Model):
    """Why nothing is trained."""

    code: str
    message: str
    fix: str


class DatasetReport(Model):
    """The whole of dataset.json. `errors` are the first `MAX_ERRORS`, `error_counts` all of them by code."""

    files: list[FileReport]
    task: Task | None
    task_reason: str
    rows: Rows = Field(default_factory=Rows)
    errors: list[LineError] = Field(default_factory=list)
    error_counts: dict[str, int] = Field(default_factory=dict)
    shapes: dict[str, int] = Field(default_factory=dict)
    ignored_columns: dict[str, int] = Field(default_factory=dict)
    repaired: int = 0
    notes: list[str] = Field(default_factory=list)
    statistics: Statistics = Field(default_factory=Statistics)
    template: Template | None = None
    samples: list[str] = Field(default_factory=list)
    """Rows as the model will see them."""
    max_error_fraction: float
    validation_fraction: float
    refusal: Refusal | None = None

    @property
    def ok(self) -> bool:
        return self.refusal is None


class Tally(Model):
    """What is counted while rows are read, and adds up over shards."""

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
        """Adds another tally, or takes it away (`times=-1`)."""
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

    def rows(self) -> Rows:
        return Rows(
            lines=self.lines,
            kept=self.kept,
            train=self.train,
            validation=self.validation,
            duplicates=self.duplicates,
            errors=self.errors,
            blank=self.blank,
        )

    def buckets(self) -> list[Bucket]:
        """The length histogram: powers of two, from the shortest row's bucket to the longest's."""
        if not self.histogram:
            return []
        digits = range(min(self.histogram), max(self.histogram) + 1)
        return [Bucket(at_least=1 << n >> 1, below=1 << n, rows=self.histogram[n]) for n in digits]


class Sample(Model):
    """A row kept, in its converted form."""

    digest: str
    row: dict[str, Any]


class LongestRow(Model):
    tokens: int
    line: int
    digest: str


class ShardResult(Model):
    """What one shard reports. Lines are counted from the shard's first."""

    tally: Tally = Field(default_factory=Tally)
    errors: list[LineError] = Field(default_factory=list)
    samples: list[Sample] = Field(default_factory=list)
    longest: list[LongestRow] = Field(default_factory=list)
    broken_off: bool = False
    """Whether the file ended in the middle of something: what would have followed is not known."""
