"""How a CSV file is written, by its first rows: its delimiter, its header, its columns."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from finetuning.datasets.data_errors import DataError, ErrorCode, naming
from finetuning.datasets.limits import MAX_RECORD
from finetuning.datasets.shape import (
    COMPLETION,
    CONTEXT,
    CONVERSATION,
    HISTORY,
    INPUT,
    INSTRUCTION,
    PROMPT,
    SYSTEM_KEYS,
)

_DELIMITERS = ",\t;|"
_KNOWN_COLUMNS = frozenset(
    (*CONVERSATION, *PROMPT, *COMPLETION, *SYSTEM_KEYS, INSTRUCTION, INPUT, CONTEXT, HISTORY, "text", "rejected")
)
_NAME = re.compile(r"[^\W\d][\w-]{0,40}")


class CsvDialect(NamedTuple):
    """`columns` are the header's, or names given to columns without one. `rows`: the first, by column."""

    delimiter: str
    has_header: bool
    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def csv_dialect(head: str, whole: bool, max_rows: int) -> CsvDialect:
    """The dialect of a file that starts with `head`, by `max_rows` rows at most. `whole`: nothing follows the head.

    The delimiter is the one that gives rows of equal width. The first row is a header if it has a known column's name,
    or only names while the rows after it have values. Raises `DataError`: CSV_INVALID, COLUMNS_UNKNOWN.
    """
    csv.field_size_limit(MAX_RECORD)
    delimiter = max(_DELIMITERS, key=lambda each: _evenness(_first_rows(head, each, whole, max_rows)))
    rows = _first_rows(head, delimiter, whole, max_rows)
    if not rows:
        raise DataError(ErrorCode.CSV_INVALID, "No row of the file is valid CSV.")
    first = [_column_name(cell) for cell in rows[0]]
    has_header = _is_header(first, rows[1:])
    columns = first if has_header else {1: ["text"], 2: ["question", "answer"]}.get(len(first), [])
    if not columns:
        start = ", ".join(cell[:30] for cell in rows[0][:6])
        message = f"The file has {len(first)} columns but no header. Its first row: {start}."
        raise DataError(ErrorCode.COLUMNS_UNKNOWN, message)
    if len(set(columns)) < len(columns):
        raise DataError(ErrorCode.COLUMNS_UNKNOWN, f"Two columns have the same name. The columns: {naming(columns)}.")
    body = [dict(zip(columns, row, strict=True)) for row in rows[has_header:] if len(row) == len(columns)]
    return CsvDialect(delimiter, has_header, tuple(columns), body)


def _first_rows(text: str, delimiter: str, whole: bool, max_rows: int) -> list[list[str]]:
    """The rows of the head, up to one that cannot be read: the preparation, which reads all rows, reports it."""
    rows, readable = [], True
    try:
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), max_rows + 1):
            rows.append(row)
    except csv.Error:
        readable = False
    if readable and not whole and len(rows) <= max_rows:
        rows = rows[:-1]  # the head may end within it
    return [row for row in rows if row]


def _evenness(rows: Sequence[Sequence[str]]) -> tuple[bool, int]:
    """True if nine rows of ten are as wide as the first; and how wide, 0 where they are not."""
    if not rows or len(rows[0]) < 2:
        return False, 0
    width = len(rows[0])
    even = sum(len(row) == width for row in rows) * 10 >= len(rows) * 9
    return even, width if even else 0


def _column_name(cell: str) -> str:
    """The column's name; a known one in lower case."""
    name = cell.strip()
    return name.lower() if name.lower() in _KNOWN_COLUMNS else name


def _is_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    if any(name in _KNOWN_COLUMNS for name in first):
        return True
    all_names = all(_NAME.fullmatch(name) for name in first)
    return all_names and not all(_NAME.fullmatch(cell) for row in rows[:20] for cell in row if cell)
