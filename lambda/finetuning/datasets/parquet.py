"""Parquet written as JSON Lines, in a function of its own: pyarrow is too large for the layer of the others."""

import gzip
import os
import shutil
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from finetuning.datasets.data_errors import FIXES, ErrorCode
from finetuning.datasets.detection import detect_reframed
from finetuning.datasets.dialogs import BYTES
from finetuning.datasets.formats import Detection, Format
from finetuning.datasets.limits import BATCH_BYTES, BATCH_RECORDS, EXPANSION_ALLOWED, EXPANSION_RATIO, MAX_RECORD
from finetuning.datasets.workspace import Workspace

GZIP = b"\x1f\x8b"


class ParquetDamaged(Exception):
    """The file is not Parquet, is incomplete, or grows beyond a limit when it is written out."""


class Reframed(NamedTuple):
    """A Parquet file as JSON Lines: its rows, the bytes written, and what they hold."""

    rows: int
    size: int
    detection: Detection


def reframe_file(source: BinaryIO, workspace: Workspace, key: str) -> Reframed:
    """Writes a Parquet file into the workspace as JSON Lines. Never raises for a damaged one: the detection is then a
    refusal.
    """
    try:
        with workspace.create(key) as into:
            rows = reframe(source, into)
    except ParquetDamaged as error:
        message = f"The Parquet file cannot be read: {error}"
        code = ErrorCode.PARQUET_DAMAGED
        return Reframed(0, 0, Detection(format=Format.PARQUET, refusal=code, message=message, fix=FIXES[code]))
    size = workspace.size(key)

    def read(most: int) -> bytes:
        with workspace.open(key) as written:
            return written.read(most)

    return Reframed(rows, size, detect_reframed(read, size))


def reframe(source: BinaryIO, into: BinaryIO) -> int:
    """Writes every row of a Parquet file as a line of JSON; returns the number of rows.

    `source` must be seekable. Raises `ParquetDamaged` where it cannot be read.
    """
    import pyarrow.lib  # here: only the Parquet function has it

    try:
        return _reframe(source, into)
    # pyarrow raises OSError, too; ValueError for text that is not UTF-8; OverflowError for times that Python lacks.
    except (pyarrow.lib.ArrowException, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise ParquetDamaged(str(error)) from error


def _reframe(source: BinaryIO, into: BinaryIO) -> int:
    source.seek(0)
    if source.read(len(GZIP)) == GZIP:
        source.seek(0)
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(gzip.GzipFile(fileobj=source), unpacked)
            return _reframe(cast(BinaryIO, unpacked), into)
    allowed = max(EXPANSION_ALLOWED, EXPANSION_RATIO * source.seek(0, os.SEEK_END))
    rows = written = 0
    for batch in _batches(source):
        for row in batch.to_pylist():
            line = orjson.dumps(row, default=_as_text, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
            written += into.write(line)
            rows += 1
        if written > allowed:
            raise ParquetDamaged(
                f"its rows come to more than {allowed >> 20:,} MiB when they are written out, which is the limit for "
                "a file of this size"
            )
    return rows


def _batches(source: BinaryIO) -> Iterator[Any]:
    """The file's record batches, each of a size that may be expanded.

    Texts are read as dictionaries: one that many rows share is in memory once, as in the file.
    """
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(source)
    columns = [file.schema.column(number) for number in range(len(file.schema))]
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    first = 0
    for batch in pyarrow.parquet.ParquetFile(source, read_dictionary=texts).iter_batches(BATCH_RECORDS):
        for part in _within_budget(batch, first):
            yield _decoded(part, file.schema_arrow)
        first += batch.num_rows


def _decoded(batch: Any, schema: Any) -> Any:
    """The batch without dictionaries, which Python reads three times as fast; as it is where Arrow cannot cast it."""
    import pyarrow.lib

    try:
        return batch.cast(schema)
    except pyarrow.lib.ArrowNotImplementedError:
        return batch


def _within_budget(batch: Any, first: int) -> Iterator[Any]:
    """The batch in slices of at most `BATCH_BYTES`. Raises `ParquetDamaged` for a row beyond `MAX_RECORD`."""
    size = sum(map(_expanded_bytes, batch.columns))
    if batch.num_rows == 1 and size > MAX_RECORD:
        raise ParquetDamaged(f"row {first + 1} is longer than {MAX_RECORD >> 20} MiB")
    if size <= BATCH_BYTES or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _within_budget(batch.slice(0, half), first)
    yield from _within_budget(batch.slice(half), first + half)


def _expanded_bytes(array: Any) -> int:
    """Bytes of an Arrow array's values with every dictionary written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)
    if pa.types.is_map(kind):
        return _expanded_bytes(array.keys) + _expanded_bytes(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _expanded_bytes(array.flatten())
    if pa.types.is_struct(kind):
        return sum(_expanded_bytes(field) for field in array.flatten())
    return int(array.nbytes)


BYTES_SHOWN = 16


def _as_text(value: Any) -> Any:
    """What JSON has no type for; bytes that are not UTF-8 as an object, which a row that uses them is refused for."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {BYTES: value[:BYTES_SHOWN].hex(" ") + ("…" if len(value) > BYTES_SHOWN else "")}
    if isinstance(value, Decimal | date | datetime | time):
        return str(value)
    return repr(value)
