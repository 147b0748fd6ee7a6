"""The rows of a Parquet file in batches of bounded memory, whatever its row groups hold.

A column is streamed, a few megabytes at a time. What pyarrow holds beyond that is decided by the rows of a batch: a
text may stand in the file once and be used by every row. So a batch has only so many rows that each may have all bytes
of its row group's texts.

A list in a single row may use a text any number of times. Texts in lists are read as dictionaries, in which each stands
once; but a dictionary holds the texts of a whole row group, in several copies, so that their size has a limit.

Sizes and numbers are those of the file's metadata, before anything is read. A file that lies about them can exceed the
memory of its function, which is then killed: the run ends with STEP_OUT_OF_MEMORY.
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from finetuning.datasets.data_errors import DataError, ErrorCode, require_few_columns
from finetuning.datasets.limits import (
    BATCH_BYTES,
    BATCH_RECORDS,
    COLUMN_BUFFER,
    COLUMN_BUFFERS,
    DICTIONARY_ROWS,
    EXPANSION_ALLOWED,
    EXPANSION_RATIO,
    MAX_BATCH_BYTES,
    MAX_RECORD,
    MAX_ROW_GROUP,
)

TEXT = "BYTE_ARRAY"
NUMBER_BYTES = 8
"""Bytes of a number; also of a text's place in a dictionary, beside the text."""

SHARED = frozenset(("RLE_DICTIONARY", "PLAIN_DICTIONARY", "DELTA_BYTE_ARRAY"))
"""Encodings in which values use the bytes of other values."""

LEAST_JSON = 2
"""Bytes of a value written as JSON, with its comma, at least: of a digit or an empty object."""

_SPLIT = f"Split the row, or leave the long column out: a row may have up to {MAX_RECORD >> 20} MiB."


def batches(source: BinaryIO) -> Iterator[Any]:
    """The file's rows as Arrow's record batches, each of a size that may be expanded.

    Raises `DataError` for a row or a row group beyond its limit, and pyarrow's errors.
    """
    opened = _open(source)
    first = 0
    for number in range(opened.file.num_row_groups):
        for batch in _read(opened, number):
            for part in _within_budget(batch, first):
                decoded = _decoded(part, opened.file.schema_arrow)
                for start in range(0, decoded.num_rows, BATCH_RECORDS):
                    yield decoded.slice(start, BATCH_RECORDS)
            first += batch.num_rows


class _Opened(NamedTuple):
    """A Parquet file, read as it is or with its texts as dictionaries.

    `listed`: the numbers of the columns with texts in lists, and of pandas' categories, which pyarrow reads as
    dictionaries in any case. `row_bytes`: of a row's numbers, outside lists. `unread`: the file without its content.
    """

    file: Any
    unread: Any
    with_dictionaries: Any
    columns: list[Any]
    listed: list[int]
    row_bytes: int


class _NotRead(Exception):
    """A reader is ready, and would read now."""


class _Unreadable(io.RawIOBase):
    """A file with no content that can be read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        raise _NotRead


def _open(source: BinaryIO) -> _Opened:
    """Reads the file's metadata. Columns are then streamed: with `pre_buffer` pyarrow would hold the whole file."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(source)
    buffer = max(min(COLUMN_BUFFER, COLUMN_BUFFERS // max(metadata.num_columns, 1)), 1)
    streamed = {"metadata": metadata, "pre_buffer": False, "buffer_size": buffer}
    file = pyarrow.parquet.ParquetFile(source, **streamed)
    require_few_columns(file.schema_arrow.names)
    columns = [file.schema.column(number) for number in range(metadata.num_columns)]
    texts = [number for number, column in enumerate(columns) if column.physical_type == TEXT]
    categories = "dictionary<" in str(file.schema_arrow)
    listed = [number for number in texts if categories or columns[number].max_repetition_level]
    paths = [columns[number].path for number in texts]
    return _Opened(
        file,
        pyarrow.parquet.ParquetFile(_Unreadable(source), **streamed),
        pyarrow.parquet.ParquetFile(source, read_dictionary=paths, **streamed) if listed else file,
        columns,
        listed,
        sum(_value_bytes(column) for column in columns if column.physical_type != TEXT),
    )


def _read(opened: _Opened, number: int) -> Iterator[Any]:
    """The batches of one row group: pyarrow cannot read lists of dictionaries across two of them. Every byte is read
    once. No threads: small batches take ten times as long with them.
    """
    # Where a column's metadata is invalid, a reader raises; asked for that metadata, pyarrow would end the process.
    with suppress(_NotRead):
        next(opened.unread.iter_batches(1, [number], use_threads=False), None)
    group = opened.file.metadata.row_group(number)
    chunks = [group.column(each) for each in range(len(opened.columns))]
    as_dictionaries = any(SHARED.intersection(chunks[each].encodings) for each in opened.listed)
    _require_small(opened, number, chunks, as_dictionaries)
    texts = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.physical_type == TEXT)
    if as_dictionaries:
        file, most, row_bytes = opened.with_dictionaries, DICTIONARY_ROWS, opened.row_bytes
    else:
        file, most, row_bytes = opened.file, BATCH_RECORDS, opened.row_bytes + texts
    rows = min(MAX_BATCH_BYTES // max(row_bytes, 1), most)
    return iter(file.iter_batches(max(rows, 1), [number], use_threads=False))


def _require_small(opened: _Opened, number: int, chunks: list[Any], as_dictionaries: bool) -> None:
    """Raises `DataError` for a row group of which a single row may take more memory than the function has."""
    texts = [chunk for chunk in chunks if chunk.physical_type == TEXT]
    stored = sum(chunk.total_uncompressed_size for chunk in texts)
    if stored > max(EXPANSION_ALLOWED, EXPANSION_RATIO * sum(chunk.total_compressed_size for chunk in texts)):
        _refuse(opened, number, f"has {stored >> 20:,} MiB of text", EXPANSION_ALLOWED, stored)
    delta = [chunk.path_in_schema for chunk in texts if any("DELTA" in encoding for encoding in chunk.encodings)]
    if as_dictionaries and delta:
        raise DataError(
            ErrorCode.PARQUET_DAMAGED,
            f"The Parquet file cannot be read: the column {delta[0]} is stored as differences (DELTA_…), and the file "
            "has texts in lists, which are then not read in bounded memory.",
            fix="Write the file again without them: pandas.read_parquet(path).to_parquet(path), or in Spark with "
            "parquet.writer.version=v1.",
        )
    held = sum(map(_held_at_once, opened.columns, chunks, [as_dictionaries] * len(chunks)))
    if held > MAX_ROW_GROUP:
        _refuse(opened, number, f"has lists or categories with {held >> 20:,} MiB of values", MAX_ROW_GROUP, held)


def _held_at_once(column: Any, chunk: Any, as_dictionaries: bool) -> int:
    """Bytes of a column chunk that are in memory whatever the rows of a batch, or may be all in one row's list."""
    stored = int(chunk.total_uncompressed_size)
    if as_dictionaries and column.physical_type == TEXT:
        return stored + NUMBER_BYTES * int(chunk.num_values)
    expanded = _value_bytes(column) * int(chunk.num_values)
    repeated = column.max_repetition_level and expanded > NUMBER_BYTES * stored
    return expanded if repeated else 0


def _refuse(opened: _Opened, number: int, what: str, limit: int, size: int) -> None:
    rows = opened.file.metadata.row_group(number).num_rows
    most = str(rows * limit // size)
    few = f"{int(most[0]) * 10 ** (len(most) - 1):_}"
    smaller = (
        f"Write the file with smaller row groups: DataFrame.to_parquet(path, row_group_size={few}) in pandas, "
        f"DataFrame.write_parquet(path, row_group_size={few}) in Polars. Or write it as JSON Lines."
    )
    raise DataError(
        ErrorCode.ROW_GROUP_TOO_LARGE,
        f"Row group {number + 1} of the Parquet file, of {rows:,} row{'s' * (rows != 1)}, {what}; the limit is "
        f"{limit >> 20:,} MiB.",
        fix=_SPLIT if most == "0" else smaller,
    )


def _value_bytes(column: Any) -> int:
    return max(int(column.length), NUMBER_BYTES)


def _within_budget(batch: Any, first: int) -> Iterator[Any]:
    """The batch in slices of at most `BATCH_BYTES`. Raises `DataError` for a row beyond `MAX_RECORD`."""
    names = sum(len(name) for name in batch.schema.names)
    size = batch.num_rows * names + sum(map(_expanded_bytes, batch.columns))
    if batch.num_rows == 1 and size > MAX_RECORD:
        raise DataError(
            ErrorCode.PARQUET_DAMAGED,
            f"Row {first + 1} of the Parquet file is longer than {MAX_RECORD >> 20} MiB when it is written as JSON.",
            fix=_SPLIT,
        )
    if size <= BATCH_BYTES or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _within_budget(batch.slice(0, half), first)
    yield from _within_budget(batch.slice(half), first + half)


def _decoded(batch: Any, schema: Any) -> Any:
    """The batch without dictionaries, which Python reads three times as fast; as it is where Arrow cannot cast it: to
    views, and slices of lists of nulls, which it then takes for invalid.
    """
    import pyarrow.lib

    try:
        return batch if batch.schema == schema else batch.cast(schema)
    except (pyarrow.lib.ArrowNotImplementedError, pyarrow.lib.ArrowInvalid):
        return batch


def _expanded_bytes(array: Any) -> int:
    """Bytes of an Arrow array's values with every dictionary and every name of a field written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        size = int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    elif pa.types.is_map(kind):
        return _expanded_bytes(array.keys) + _expanded_bytes(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _expanded_bytes(array.flatten())
    elif pa.types.is_struct(kind):
        names = sum(len(field.name) for field in kind)
        return len(array) * names + sum(_expanded_bytes(field) for field in array.flatten())
    elif pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        size = int(pc.cast(array, pa.large_binary()).nbytes)  # a view's own bytes are those of all rows that were read
    else:
        size = int(array.nbytes)
    return max(size, LEAST_JSON * len(array))
