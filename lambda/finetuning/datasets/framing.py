"""From bytes to records: lines of JSONL or text, values of a JSON document, rows of CSV.

A record is its bytes, its columns (CSV), or the `DataError` in its place. With it comes the number of the line it
starts on, counted from 1 in what was read. No error ends the reading, and no record is left out. Records come in
batches, for speed.
"""

import csv
import io
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Self, cast

from finetuning.datasets.csv_dialect import fields_of
from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.encoding import BOM
from finetuning.datasets.limits import BATCH_BYTES, BATCH_RECORDS, MAX_INFLATED, MAX_RECORD

CHUNK = 1 << 20

Record = bytes | dict[str, str] | DataError


class Batch(NamedTuple):
    """Consecutive records, and the line each starts on."""

    numbers: Sequence[int]
    records: Sequence[Record]


def batches(records: Iterator[tuple[int, Record]]) -> Iterator[Batch]:
    """Records taken together: at most `BATCH_RECORDS`, and `BATCH_BYTES` or one record more."""
    numbers: list[int] = []
    taken: list[Record] = []
    held = 0
    for number, record in records:
        numbers.append(number)
        taken.append(record)
        held += _length(record)
        if len(taken) == BATCH_RECORDS or held > BATCH_BYTES:
            yield Batch(numbers, taken)
            numbers, taken, held = [], [], 0
    if taken:
        yield Batch(numbers, taken)


def _length(record: Record) -> int:
    """Bytes of a record, or characters of a CSV row."""
    if isinstance(record, DataError):
        return 0
    return len(record) if isinstance(record, bytes) else sum(map(len, record.values()))


def lines(reader: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Batch]:
    """The lines that start in `[start, end)` of a file, line ends included; `reader` is at `max(start - 1, 0)`.

    So every line belongs to exactly one of the ranges a file is cut into, and nothing has to be read to cut it.
    """
    left = sys.maxsize if end is None else end - start
    if start:
        left -= _rest_of_line(reader) - 1
    buffered = cast(io.BufferedReader, reader)
    number = 1
    while left > 0 and (chunk := buffered.read1()):
        found: list[Any] = io.BytesIO(chunk).readlines()
        read, last = len(chunk), found[-1]
        if not last.endswith(b"\n"):
            # The line is longer than what was read. Its end is read separately, so that its length can be limited.
            rest = buffered.readline(MAX_RECORD + 1 - len(last))
            found[-1] = last = last + rest
            read += len(rest)
        if read > left:
            del found[_starting_within(found, left) :]
        if len(last) > MAX_RECORD and found[-1] is last:
            read += 0 if last.endswith(b"\n") else _rest_of_line(reader)
            found[-1] = DataError(ErrorCode.LINE_TOO_LONG, f"The line is longer than {MAX_RECORD >> 20} MiB.")
        if number == 1 and not start:
            found = _without_bom(found)
        yield Batch(range(number, number + len(found)), found)
        left -= read
        number += len(found)


def _without_bom(found: list[Record]) -> list[Record]:
    """The first lines of a file without the byte-order mark; a file with nothing else has no lines."""
    first = found[0]
    if isinstance(first, bytes) and first.startswith(BOM):
        return [first[len(BOM) :], *found[1:]] if first != BOM else []
    return found


def _starting_within(found: Sequence[Record], left: int) -> int:
    """The number of lines that start within the next `left` bytes."""
    for count, line in enumerate(found):
        if left <= 0:
            return count
        left -= len(cast(bytes, line))
    return len(found)


def _rest_of_line(reader: BinaryIO) -> int:
    """Reads to the end of the line. Returns the number of bytes read."""
    read = 0
    while part := reader.readline(CHUNK):
        read += len(part)
        if part.endswith(b"\n"):
            break
    return read


_STRING_END = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
"""The rest of a string with its closing quote, or as much of it as is in the buffer. Possessive (`*+`): with
backtracking the time would grow with the square of the string's length."""

_TOKEN = re.compile(rb'"' + _STRING_END.pattern + rb"|[\[\]{},]", re.DOTALL)
"""What decides where a JSON value ends: strings, brackets and commas."""

_FLAT_OR_TOKEN = re.compile(rb'\{(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+\}|' + _TOKEN.pattern, re.DOTALL)
"""The same, but an object without brackets inside is one token."""

_OPENER = {b"]": b"[", b"}": b"{"}
_BRACKETS_SEARCHED = 64
"""How many unclosed brackets a closing bracket may skip to find its partner."""


def json_values(reader: BinaryIO, depth: int) -> Iterator[tuple[int, Record]]:
    """The values of a JSON document at a depth: 1 for the elements of an array, 0 for consecutive values.

    They are cut out by their brackets, not parsed: of an array with one invalid value the others are still read. Only a
    document that ends inside a value is lost from there: JSON_TRUNCATED, which refuses the file.
    """
    buffer, line, scanned, skipping, in_string = b"", 1, 0, False, False
    open_brackets = bytearray()
    tokens = _FLAT_OR_TOKEN if depth else _TOKEN
    while True:
        chunk = reader.read(CHUNK)
        buffer += chunk
        start = 0
        if in_string and (rest_of_string := _STRING_END.match(buffer, scanned)):
            scanned, in_string = rest_of_string.end(), not rest_of_string[1]
        for token in () if in_string else tokens.finditer(buffer, scanned):
            scanned, closed = token.end(), token[1]
            if closed is not None:  # a string
                in_string = not closed
                continue
            text = token[0]
            before = len(open_brackets)
            if len(text) > 1:  # an object without brackets inside
                ends = not before
            elif text in _OPENER:
                partner = open_brackets.rfind(_OPENER[text], max(0, before - _BRACKETS_SEARCHED))
                if partner >= 0:
                    del open_brackets[partner:]
                ends = before > 0 == len(open_brackets)
            elif text == b",":
                ends = depth == 1 == before
            else:
                open_brackets += text
                ends = depth == 1 > before
            if not ends:
                continue
            if not skipping:
                value = buffer[start : scanned - depth if len(text) == 1 else scanned]
                yield from _value(value, line, stray=depth > before)
            skipping = False
            line += buffer.count(b"\n", start, scanned)
            start = scanned
        if not chunk:
            break
        buffer, scanned = buffer[start:], max(scanned - start, 0)
        if len(buffer) > MAX_RECORD:
            if not skipping:
                yield line, DataError(ErrorCode.LINE_TOO_LONG, f"The row is longer than {MAX_RECORD >> 20} MiB.")
            skipping = True
            line += buffer.count(b"\n", 0, scanned)
            buffer, scanned = buffer[scanned:], 0
    if open_brackets and not skipping:
        yield line, DataError(ErrorCode.JSON_TRUNCATED, "The file ends before the JSON of this row is complete.")
    elif not skipping:
        yield from _value(buffer[start:], line, stray=True)


def _value(text: bytes, line: int, stray: bool) -> Iterator[tuple[int, Record]]:
    value = text.lstrip()
    if not value or value == BOM:
        return
    line += text.count(b"\n", 0, len(text) - len(value))
    if stray:
        yield line, DataError(ErrorCode.JSON_INVALID, "This text is outside the array of rows.")
    else:
        yield line, value.removeprefix(BOM)


def csv_rows(
    reader: BinaryIO, delimiter: str, columns: Sequence[str], skip: int, skips_blanks: bool = False
) -> Iterator[tuple[int, Record]]:
    """The rows of a CSV file as columns; a blank line is b"". The first `skip` records, such as a header, are no rows.
    `skips_blanks`: see `CsvDialect`.

    Quotes are parsed strictly: otherwise a quote that is not closed would swallow the rows after it.
    """
    csv.field_size_limit(MAX_RECORD)
    text = _CsvLines(reader)
    rows = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=skips_blanks)
    while True:
        line = rows.line_num + 1
        text.begin_row()
        try:
            fields: Sequence[str] = next(rows)
        except StopIteration:
            return
        except DataError as error:
            skip -= 1
            yield line, error
            continue
        except csv.Error as error:
            skip -= 1
            if "unexpected end" in str(error):
                yield (
                    line,
                    DataError(
                        ErrorCode.JSON_TRUNCATED,
                        "The file ends inside quotes that begin in this row.",
                        "",
                        "Close the quotes, or export or copy the file again: its end may be missing.",
                    ),
                )
                return
            yield line, DataError(ErrorCode.CSV_INVALID, f"The row is not valid CSV: {error}.")
            continue
        if text.error:
            yield line, text.error
        elif not fields:
            yield line, b""
        elif skip > 0:
            skip -= 1
        elif len(fields) != len(columns) and len(fields := fields_of(fields, len(columns))) != len(columns):
            message = f"The row has {len(fields)} fields; the file has {len(columns)} columns."
            cut_off = text.ends_open and len(fields) < len(columns)
            yield line, DataError(ErrorCode.JSON_TRUNCATED if cut_off else ErrorCode.CSV_COLUMNS, message)
        else:
            yield line, dict(zip(columns, fields, strict=True))


class _CsvLines:
    """Lines as text, for one row of CSV after the other.

    A row may have many lines: beyond `MAX_RECORD` characters the next one is refused (`DataError`, LINE_TOO_LONG), and
    the reader begins a new row with it. What cannot be decoded is kept in `error`, and a line stands in for it.
    """

    def __init__(self, reader: BinaryIO) -> None:
        self.error: DataError | None = None
        self._lines = (line for batch in lines(reader) for line in _texts(batch.records))
        self._last, self._row_length = "\n", 0

    @property
    def ends_open(self) -> bool:
        """Whether the last line has no line end: the file ends there."""
        return not self._last.endswith("\n")

    def begin_row(self) -> None:
        self.error, self._row_length = None, 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._row_length > MAX_RECORD:
            raise DataError(ErrorCode.LINE_TOO_LONG, f"The row is longer than {MAX_RECORD >> 20} MiB.")
        line = next(self._lines)
        if not isinstance(line, str):
            line, error = line
            self.error = self.error or error
        self._last = line
        self._row_length += len(line)
        return line


def _texts(records: Sequence[Record]) -> Sequence[str | tuple[str, DataError]]:
    """Lines as texts; for one that is none, a text that stands in for it, and the error."""
    try:
        return list(map(bytes.decode, cast(Sequence[bytes], records)))
    except (UnicodeDecodeError, TypeError):
        return list(map(_text_or_error, records))


def _text_or_error(record: Record) -> str | tuple[str, DataError]:
    if isinstance(record, DataError):
        return "\n", record
    line = cast(bytes, record)
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return line.decode(errors="replace"), undecodable(line, error)


def undecodable(line: bytes, error: UnicodeDecodeError) -> DataError:
    """The error of a line that is not UTF-8, with its likely encoding."""
    if b"\0" in line:
        likely = "the file looks like UTF-16 or UTF-32"
    elif _is_windows_1252(line):
        likely = "the file looks like Windows-1252 (Latin-1)"
    else:
        likely = "the file may be binary"
    return DataError(ErrorCode.ENCODING, f"Byte {error.start + 1} (0x{line[error.start]:02X}) is not UTF-8; {likely}.")


def _is_windows_1252(line: bytes) -> bool:
    """True if the line is text in that encoding: letters with accents, and typographic quotes and dashes."""
    try:
        return "".join(line.decode("cp1252").split()).isprintable()
    except UnicodeDecodeError:
        return False


class Gunzip(io.RawIOBase):
    """Decompresses a gzip stream; several members in a row are one stream.

    A stream that is damaged or incomplete ends there, and `error` says so: what came before it can be used.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.error: DataError | None = None
        self._source = source
        self._member: Any = None
        self._input = b""
        self._inflated = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        data = b""
        while not data and not self.error and self._has_input():
            try:
                data = self._member.decompress(self._input, len(into))
            except zlib.error as error:
                self.error = DataError(ErrorCode.COMPRESSION, f"The gzip stream is damaged from here: {error}.")
                break
            self._inflated += len(data)
            if self._inflated > MAX_INFLATED:
                limit = f"{MAX_INFLATED >> 20:,} MiB"
                self.error = DataError(ErrorCode.COMPRESSION, f"The gzip stream expands to more than {limit}.")
            self._input = self._member.unconsumed_tail or self._member.unused_data
            if self._member.eof:
                self._member = None
        into[: len(data)] = data
        return len(data)

    def _has_input(self) -> bool:
        """True if there is more to decompress; a new member is then begun. Zeros between members are padding."""
        while not self._input:
            self._input = self._source.read(CHUNK >> 2)
            if not self._input:
                if self._member:
                    self.error = DataError(ErrorCode.COMPRESSION, "The gzip stream is incomplete: it ends here.")
                return False
            if not self._member:
                self._input = self._input.lstrip(b"\0")
        if not self._member:
            self._member = zlib.decompressobj(wbits=31)
        return True
