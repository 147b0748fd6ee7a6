"""Parquet written as JSON Lines, in a function of its own: pyarrow is too large for the layer of the others."""

import gzip
import shutil
import zlib
from datetime import date, datetime, time
from decimal import Decimal
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.detection import HEAD_BYTES, Detection, Format, detect_reframed
from finetuning.datasets.workspace import Workspace

BATCH_ROWS = 1000
GZIP = b"\x1f\x8b"


class ParquetDamaged(Exception):
    """The file is not Parquet, or not all of it is there."""


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
        return Reframed(0, 0, Detection(format=Format.PARQUET, refusal=ErrorCode.PARQUET_DAMAGED, message=message))
    size = workspace.size(key)
    with workspace.open(key) as written:
        return Reframed(rows, size, detect_reframed(written.read(HEAD_BYTES), size))


def reframe(source: BinaryIO, into: BinaryIO) -> int:
    """Writes every row of a Parquet file as a line of JSON; the number of rows.

    `source` must be seekable. Raises `ParquetDamaged` if it cannot be read.
    """
    import pyarrow.lib  # here: only the Parquet function has it
    import pyarrow.parquet

    try:
        return _reframe(pyarrow.parquet.ParquetFile, source, into)
    # OSError: pyarrow raises it, too. ValueError and OverflowError: a text that is not UTF-8, a time Python has not.
    except (pyarrow.lib.ArrowException, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise ParquetDamaged(str(error)) from error


def _reframe(parquet_file: Any, source: BinaryIO, into: BinaryIO) -> int:
    source.seek(0)
    if source.read(len(GZIP)) == GZIP:
        source.seek(0)
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(gzip.GzipFile(fileobj=source), unpacked)
            return _reframe(parquet_file, cast(BinaryIO, unpacked), into)
    rows = 0
    for batch in parquet_file(source).iter_batches(batch_size=BATCH_ROWS):
        for row in batch.to_pylist():
            into.write(orjson.dumps(row, default=_as_text, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
            rows += 1
    return rows


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Decimal | date | datetime | time):
        return str(value)
    return repr(value)
