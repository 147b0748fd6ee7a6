"""How a CSV file is written, by its first rows: its delimiter, its header, its columns."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from finetuning.datasets.data_errors import DataError, ErrorCode, naming
from finetuning.datasets.limits import MAX_RECORD
from finetuning.datasets.shape import KNOWN_COLUMNS, column_name

_DELIMITERS = ",\t;|"
_EXCEL_HINT = re.compile(r"\"?sep=([,\t;|])\"?\r?\n", re.IGNORECASE)
"""The first line of a file that Excel writes to name its delimiter."""

_NAME = re.compile(r"[^\W\d][\w-]{0,40}")
_PHRASE = re.compile(r"[^\W\d][\w-]{0,30}(?:[ /&][\w()#-]{1,30}){0,3}")
"""A column's name of up to four words."""

_ABBREVIATED = re.compile(r"[^\W\d][\w -]{0,12}\.")
_NUMBER = re.compile(r"[\d.,:/+ -]{1,40}|\S{0,20}\d\S{0,20}")
"""A number, a date, a time, or an id with a digit."""

_PLACE = re.compile(r"column \d{1,4}")
"""The name of a column in a file without a header."""

JUDGED = 50
"""Rows that decide whether the first one is a header."""


class CsvDialect(NamedTuple):
    """`columns` are the header's, or names given to columns without one. `rows`: the first, by column. `preamble`:
    records before the header or the first row. `skips_blanks`: whether a blank after the delimiter is not content.
    """

    delimiter: str
    has_header: bool
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    preamble: int = 0
    skips_blanks: bool = False


class _Layout(NamedTuple):
    delimiter: str
    skips_blanks: bool
    rows: list[list[str]]


def csv_dialect(
    head: str, whole: bool, max_rows: int, suffix: str = ".csv", named: Collection[str] = frozenset()
) -> CsvDialect:
    """The dialect of a file that starts with `head`, by `max_rows` rows at most. `whole`: nothing follows the head.

    `named`: columns that the user names. The delimiter is the one that makes known columns or rows of equal width; in a
    .tsv file the tab. The first row is a header if it has a known or named column, or only names while the rows after
    it have values. Raises `DataError`: CSV_INVALID, COLUMNS_UNKNOWN; also where two readings are equally likely.
    """
    csv.field_size_limit(MAX_RECORD)
    hint = _EXCEL_HINT.match(head)
    text, delimiters = (head[hint.end() :], hint[1]) if hint else (head, _DELIMITERS)
    layouts = [layout for each in delimiters for layout in _layouts(text, each, whole, max_rows)]
    delimiter, skips_blanks, rows = max(layouts, key=lambda layout: _fitness(layout, suffix, named))
    if not rows:
        raise DataError(ErrorCode.CSV_INVALID, "No row of the file is valid CSV.")
    in_places = any(map(_PLACE.fullmatch, named))
    has_header = not in_places and _is_header(rows, named)
    columns = _columns(rows, named) if has_header else _places(rows, in_places, _filled_columns(rows))
    if not columns:
        start = ", ".join(cell[:30] for cell in rows[0][:6])
        message = f"The file has {len(rows[0])} columns but no header. Its first row: {start}."
        raise DataError(ErrorCode.COLUMNS_UNKNOWN, message, "", _BY_PLACE)
    if len(set(columns)) < len(columns):
        raise DataError(ErrorCode.COLUMNS_UNKNOWN, f"Two columns have the same name. The columns: {naming(columns)}.")
    if columns == QUESTION_AND_ANSWER and not has_header:
        _require_one_reading(rows, delimiter, any(mark in f"\n{text}" for mark in ('\n"', f'{delimiter}"')))
    fields = (fields_of(row, len(columns)) for row in rows[has_header:])
    body = [dict(zip(columns, row, strict=True)) for row in fields if len(row) == len(columns)]
    return CsvDialect(delimiter, has_header, tuple(columns), body, int(bool(hint)), skips_blanks)


def fields_of(row: Sequence[str], columns: int) -> Sequence[str]:
    """The fields of a row without empty ones after the last column, as in rows that end with the delimiter."""
    return row[:columns] if len(row) > columns and not any(row[columns:]) else row


def _layouts(text: str, delimiter: str, whole: bool, max_rows: int) -> Iterator[_Layout]:
    """The rows with this delimiter; also without the blanks before quotes, if there are such."""
    rows = _first_rows(text, delimiter, whole, max_rows, skips_blanks=False)
    yield _Layout(delimiter, False, rows)
    if any(cell[:1] == " " and cell.lstrip(" ").startswith('"') for row in rows for cell in row):
        yield _Layout(delimiter, True, _first_rows(text, delimiter, whole, max_rows, skips_blanks=True))


def _first_rows(text: str, delimiter: str, whole: bool, max_rows: int, skips_blanks: bool) -> list[list[str]]:
    """The rows of the head, up to one that cannot be read: the preparation, which reads all rows, reports it."""
    rows, readable = [], True
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=skips_blanks)
    try:
        for row in islice(lines, max_rows + 1):
            rows.append(row)
    except csv.Error:
        readable = False
    if readable and not whole and len(rows) <= max_rows:
        rows = rows[:-1]  # the head may end within it
    return [row for row in rows if row]


def _fitness(layout: _Layout, suffix: str, named: Collection[str]) -> tuple[int, bool, bool, int, bool]:
    """What makes a layout more likely than another, the most telling first."""
    rows = layout.rows
    if not rows:
        return 0, False, False, 0, False
    known = sum(_is_known(cell, named) for cell in rows[0])
    is_tsv = suffix == ".tsv" and (layout.delimiter == "\t" or (len(rows[0]) > 1 and _is_header(rows, named)))
    width = len(rows[0])
    even = width > 1 and sum(len(fields_of(row, width)) == width for row in rows) * 10 >= len(rows) * 9
    return known, is_tsv, even, width if even else 0, layout.skips_blanks


def _is_known(cell: str, named: Collection[str]) -> bool:
    return cell.strip() in named or cell.strip().lower() in KNOWN_COLUMNS


def _is_header(rows: Sequence[Sequence[str]], named: Collection[str]) -> bool:
    """True if the first row has a known name, or only names, of which the rows after it are not made."""
    first, later = [cell.strip() for cell in rows[0]], rows[1 : JUDGED + 1]
    if any(_is_known(cell, named) for cell in first):
        return True
    if not later or len(set(first)) < len(first):
        return False
    if all(map(_NAME.fullmatch, first)):
        return not all(_NAME.fullmatch(cell) for row in later for cell in row if cell)
    if len(first) < 2 or not all(_PHRASE.fullmatch(cell) or _ABBREVIATED.fullmatch(cell) for cell in first):
        return False
    with_values = sum(any(cell and not _PHRASE.fullmatch(cell) for cell in row) for row in later)
    return 2 * with_values > len(later)


def _columns(rows: Sequence[Sequence[str]], named: Collection[str]) -> list[str]:
    """The header's names. A column without a name is called by its place; at the end it is left out if it is empty."""
    names = [cell.strip() if cell.strip() in named else column_name(cell.strip()) for cell in rows[0]]
    while not names[-1] and len(names) > _filled_columns(rows):
        names.pop()
    return [name or f"(column {number})" for number, name in enumerate(names, 1)]


def _filled_columns(rows: Sequence[Sequence[str]]) -> int:
    """The number of columns without empty ones at the end, as in rows that end with the delimiter."""
    return max(max((place for place, cell in enumerate(row, 1) if cell), default=1) for row in rows)


QUESTION_AND_ANSWER = ["question", "answer"]

_BY_PLACE = (
    'Add a first line with the names of the columns, or name them by their place in run.json: "data": {"columns": '
    '{"prompt": "column 1", "completion": "column 2"}}, or {"text": "column 1"} for plain text.'
)


def _places(rows: Sequence[Sequence[str]], in_places: bool, filled: int) -> list[str]:
    """Names of the columns of a file without a header; none if they have to be chosen."""
    width = min(len(rows[0]), filled)
    if in_places:
        return [f"column {number}" for number in range(1, width + 1)]
    return {1: ["text"], 2: QUESTION_AND_ANSWER}.get(width, [])


def _require_one_reading(rows: Sequence[Sequence[str]], delimiter: str, quoted: bool) -> None:
    """Raises `DataError` for two columns without a header that need not be a question and its answer."""
    pairs = [fields for row in rows if len(fields := fields_of(row, 2)) == 2]
    if 10 * sum(bool(_NUMBER.fullmatch(row[0].strip())) for row in pairs) >= 9 * len(pairs):
        raise DataError(
            ErrorCode.COLUMNS_UNKNOWN,
            "The file has no header, and its first column holds numbers or dates or ids: it may be a question with its "
            "answer, or an id with a text.",
            "",
            _BY_PLACE.replace('{"text": "column 1"}', '{"text": "column 2"}'),
        )
    if delimiter in ",;" and not quoted and 10 * sum(row[1].startswith(" ") for row in pairs) >= 9 * len(pairs):
        raise DataError(
            ErrorCode.COLUMNS_UNKNOWN,
            f"The file has no header, and every row one {delimiter!r} with a blank after it: it may be a question with "
            "its answer, or one text.",
            "",
            'For questions and answers set "data": {"columns": {"prompt": "column 1", "completion": "column 2"}} in '
            "run.json; for plain text rename the file to .txt.",
        )
