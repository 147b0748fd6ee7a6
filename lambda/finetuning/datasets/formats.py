"""What a data file can be, by its name and by its content. How that is recognised is in `detection`."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.shape import Kind
from finetuning.datasets.sides import is_left_out
from finetuning.lazy_model import LazyModel


class Format(StrEnum):
    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    TEXT = "txt"
    PARQUET = "parquet"


class Framing(StrEnum):
    """How records are arranged in a file. Only lines can be cut into byte ranges."""

    LINES = "lines"
    ARRAY = "array"
    DOCUMENT = "document"
    CSV = "csv"
    TEXT = "text"
    PARQUET = "parquet"


class Detection(LazyModel):
    """What a file is, and how that was recognised. `refusal`: why it cannot be used at all, with a `message`."""

    model_config = ConfigDict(frozen=True)

    format: Format | None = None
    framing: Framing = Framing.LINES
    compressed: bool = False
    shape: str = ""
    kinds: dict[Kind, int] = Field(default_factory=dict)
    """Number of the first rows, by what they are."""
    history: bool = False
    """Whether instruction rows have earlier turns, which only chat can hold."""
    columns: tuple[str, ...] = ()
    has_header: bool = False
    delimiter: str = ""
    preamble: int = 0
    """Records of CSV before the header or the first row."""
    skips_blanks: bool = False
    """Whether a blank after the delimiter of CSV is not content."""
    rows_seen: int = 0
    """First rows that were looked at."""
    remark: str = ""
    """What the user should know about a text that looks like something else."""
    text_columns: tuple[str, ...] = ()
    """Columns of sentences."""
    is_table: bool = False
    """Whether the rows are from CSV or Parquet, where any column may be the text."""
    why: str = ""
    refusal: ErrorCode | None = None
    message: str = ""
    fix: str = ""

    @property
    def splittable(self) -> bool:
        return self.framing is Framing.LINES and not self.compressed

    @property
    def packed(self) -> bool:
        """True if the file holds more text than it has bytes."""
        return self.compressed or self.format is Format.PARQUET


SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.TEXT,
    ".parquet": Format.PARQUET,
}
"""Suffixes of data files, in lower case; each may be followed by `.gz`."""


def is_data(path: str) -> bool:
    """True for a data file by its path in the upload: by its suffix (`.gz` may follow), unless it is hidden or has the
    name of a document or of metadata. It is the one rule for a run, `check` and `submit`.
    """
    return path.lower().removesuffix(".gz").endswith(tuple(SUFFIXES)) and not is_left_out(path)
