"""From bytes to records: lines of JSONL or text, values of a JSON document, rows of CSV.

A record is its bytes, its columns (CSV), or the `DataError` that stands for it, with the line it starts on, counted
from 1 within what was read. No error ends the reading, and no record is left out. Records come in batches, for speed.
"""

import csv
import io
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, cast

from finetuning.datasets.data_errors import DataError, ErrorCode

MAX_LINE = 16 << 20
"""Bytes of one record."""

CHUNK = 1 << 20
BOM = b"\xef\xbb\xbf"

Record = bytes | dict[str, str] | DataError


class Batch(NamedTuple):
    """Records that follow one another, and the line each starts on."""

    numbers: Sequence[int]
    records: Sequence[Record]


def batches(records: Iterator[tuple[int, Record]], size: int = 1000) -> Iterator[Batch]:
    while taken := list(islice(records, size)):
        yield Batch([number for number, _ in taken], [record for _, record in taken])


def lines(reader: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[Batch]:
    """The lines that start in `[start, end)` of a file, line ends included; `reader` stands at `max(start - 1, 0)`.

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
            # The line goes on after what was read: its end is asked for by itself, so that its length can be limited.
            rest = buffered.readline(MAX_LINE + 1 - len(last))
            found[-1] = last = last + rest
            read += len(rest)
        if read > left:
            del found[_starting_within(found, left) :]
        if len(last) > MAX_LINE and found[-1] is last:
            read += 0 if last.endswith(b"\n") else _rest_of_line(reader)
            found[-1] = DataError(ErrorCode.LINE_TOO_LONG, f"The line is longer than {MAX_LINE >> 20} MiB.")
        if number == 1 and not start:
            found = _without_bom(found)
        yield Batch(range(number, number + len(found)), found)
        left -= read
        number += len(found)


def _without_bom(found: list[Record]) -> list[Record]:
    """The first lines of a file without the mark in front; a file of nothing but a mark has no lines."""
    first = found[0]
    if isinstance(first, bytes) and first.startswith(BOM):
        return [first[len(BOM) :], *found[1:]] if first != BOM else []
    return found


def _starting_within(found: Sequence[Record], left: int) -> int:
    """How many of the lines start within the next `left` bytes."""
    for count, line in enumerate(found):
        if left <= 0:
            return count
        left -= len(cast(bytes, line))
    return len(found)


def _rest_of_line(reader: BinaryIO) -> int:
    """Reads up to the line's end; the number of bytes read."""
    read = 0
    while part := reader.readline(CHUNK):
        read += len(part)
        if part.endswith(b"\n"):
            break
    return read


_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*("?)|[\[\]{},]', re.DOTALL)
"""All that decides where a JSON value ends: strings, brackets and commas."""

_OPENER = {b"]": b"[", b"}": b"{"}
_BRACKETS_SEARCHED = 64
"""How far back a closing bracket looks for its partner past unclosed ones."""


def json_values(reader: BinaryIO, depth: int) -> Iterator[tuple[int, Record]]:
    """The values of a JSON document at a depth: 1 for the elements of an array, 0 for values one after the other.

    They are cut out by their brackets, not parsed: a value that is no JSON costs itself, and the next one is read.
    Only a document that breaks off is lost from there: JSON_TRUNCATED, which refuses the file.
    """
    buffer, line, scanned, skipping = b"", 1, 0, False
    open_brackets = bytearray()
    while True:
        chunk = _read(reader)
        buffer += chunk
        start = 0
        for token in _TOKEN.finditer(buffer, scanned):
            text, scanned = token[0], token.end()
            if text[0] == 0x22:
                if not token[1] and chunk and len(buffer) - scanned < 2:
                    scanned = token.start()  # the buffer ends within the string
                    break
                continue
            before = len(open_brackets)
            if text in _OPENER:
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
                value = buffer[start : scanned - depth]
                yield from _value(value, line, stray=depth > before)
            skipping = False
            line += buffer.count(b"\n", start, scanned)
            start = scanned
        else:
            if not chunk:
                break
        buffer, scanned = buffer[start:], max(scanned - start, 0)
        if len(buffer) > MAX_LINE:
            if not skipping:
                yield line, DataError(ErrorCode.LINE_TOO_LONG, f"The value is longer than {MAX_LINE >> 20} MiB.")
            skipping = True
            line += buffer.count(b"\n", 0, scanned)
            buffer, scanned = buffer[scanned:], 0
    rest = buffer[start:]
    if open_brackets and not skipping:
        yield line, DataError(ErrorCode.JSON_TRUNCATED, "The file ends within a JSON value.")
    else:
        yield from _value(rest, line, stray=True)


def _read(reader: BinaryIO) -> bytes:
    """What comes next, as far as it could be read: an error thereafter must not cost it."""
    return cast(io.BufferedReader, reader).read1(CHUNK)


def _value(text: bytes, line: int, stray: bool) -> Iterator[tuple[int, Record]]:
    value = text.lstrip()
    if not value or value == BOM:
        return
    line += text.count(b"\n", 0, len(text) - len(value))
    if stray:
        yield line, DataError(ErrorCode.JSON_INVALID, "This stands outside the array of rows.")
    else:
        yield line, value.removeprefix(BOM)


def csv_rows(
    reader: BinaryIO, delimiter: str, columns: Sequence[str], has_header: bool
) -> Iterator[tuple[int, Record]]:
    """The rows of a CSV file as columns; a blank line is b"". The header, where there is one, is no row.

    Quotes are taken strictly: one that is not closed would otherwise swallow the rows that follow.
    """
    csv.field_size_limit(MAX_LINE)
    errors: list[DataError] = []
    rows = csv.reader(_decoded(reader, errors), delimiter=delimiter, strict=True)
    skip = has_header
    while True:
        line = rows.line_num + 1
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            skip = False
            errors.clear()
            yield line, DataError(ErrorCode.CSV_INVALID, f"The row cannot be read: {error}.")
            continue
        if errors:
            found = errors[0]
            errors.clear()
            yield line, found
        elif not fields:
            yield line, b""
        elif skip:
            skip = False
        elif len(fields) != len(columns):
            yield (
                line,
                DataError(ErrorCode.CSV_COLUMNS, f"The row has {len(fields)} fields, the file {len(columns)} columns."),
            )
        else:
            yield line, dict(zip(columns, fields, strict=True))


def _decoded(reader: BinaryIO, errors: list[DataError]) -> Iterator[str]:
    """Lines as text. What cannot be one is told in `errors`, and a line stands in for it."""
    for line in (record for batch in lines(reader) for record in batch.records):
        if isinstance(line, DataError):
            errors.append(line)
            yield "\n"
            continue
        data = cast(bytes, line)
        try:
            yield data.decode()
        except UnicodeDecodeError as error:
            errors.append(undecodable(data, error))
            yield data.decode(errors="replace")


def undecodable(line: bytes, error: UnicodeDecodeError) -> DataError:
    """The error of a line that is not UTF-8, with what it looks like."""
    if b"\0" in line:
        likely = "it looks like UTF-16 or UTF-32"
    elif line.decode("latin-1").isprintable() or line[error.start] >= 0xA0:
        likely = "it looks like Latin-1 (Windows-1252)"
    else:
        likely = "it may be binary"
    return DataError(ErrorCode.ENCODING, f"Byte {error.start + 1}, 0x{line[error.start]:02X}, is not UTF-8; {likely}.")


class Gunzip(io.RawIOBase):
    """A gzip stream, read; several members in a row are one stream.

    A stream that is cut off or damaged ends there, and `error` says so: whatever came before is still of use.
    """

    def __init__(self, source: BinaryIO) -> None:
        self.error: DataError | None = None
        self._source = source
        self._member: Any = None
        self._input = b""

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
            self._input = self._member.unconsumed_tail or self._member.unused_data
            if self._member.eof:
                self._member = None
        into[: len(data)] = data
        return len(data)

    def _has_input(self) -> bool:
        """Whether there is more to decompress, with a member begun. Zeros between members are padding."""
        while not self._input:
            self._input = self._source.read(CHUNK >> 2)
            if not self._input:
                if self._member:
                    self.error = DataError(ErrorCode.COMPRESSION, "The gzip stream is cut off here.")
                return False
            if not self._member:
                self._input = self._input.lstrip(b"\0")
        if not self._member:
            self._member = zlib.decompressobj(wbits=31)
        return True
