"""Parquet written as JSON Lines, in a function of its own: pyarrow is too large for the layer of the others."""

import gzip
import os
import shutil
import zlib
from datetime import date, datetime, time
from decimal import Decimal
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.detection import detect_reframed
from finetuning.datasets.dialogs import BYTES
from finetuning.datasets.formats import Detection, Format
from finetuning.datasets.limits import EXPANSION_ALLOWED, EXPANSION_RATIO
from finetuning.datasets.row_groups import batches
from finetuning.datasets.workspace import Workspace

GZIP = b"\x1f\x8b"


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
    except DataError as error:
        refused = Detection(format=Format.PARQUET, refusal=error.code, message=error.message, fix=error.fix)
        return Reframed(0, 0, refused)
    size = workspace.size(key)

    def read(most: int) -> bytes:
        with workspace.open(key) as written:
            return written.read(most)

    return Reframed(rows, size, detect_reframed(read, size))


def reframe(source: BinaryIO, into: BinaryIO) -> int:
    """Writes every row of a Parquet file as a line of JSON; returns the number of rows.

    `source` must be seekable. Raises `DataError` where it cannot be read, or exceeds a limit.
    """
    import pyarrow.lib  # here: only the Parquet function has it

    try:
        return _reframe(source, into)
    # pyarrow raises OSError, too; ValueError for text that is not UTF-8; OverflowError for times that Python lacks.
    except (pyarrow.lib.ArrowException, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(ErrorCode.PARQUET_DAMAGED, f"The Parquet file cannot be read: {error}") from error


def _reframe(source: BinaryIO, into: BinaryIO) -> int:
    source.seek(0)
    if source.read(len(GZIP)) == GZIP:
        source.seek(0)
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(gzip.GzipFile(fileobj=source), unpacked)
            return _reframe(cast(BinaryIO, unpacked), into)
    allowed = max(EXPANSION_ALLOWED, EXPANSION_RATIO * source.seek(0, os.SEEK_END))
    rows = written = 0
    for batch in batches(source):
        for row in batch.to_pylist():
            line = orjson.dumps(row, default=_as_text, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
            written += into.write(line)
            rows += 1
        if written > allowed:
            raise DataError(
                ErrorCode.PARQUET_DAMAGED,
                f"The rows of the Parquet file come to more than {allowed >> 20:,} MiB when they are written out, "
                "which is the limit for a file of this size.",
                fix="Look for a long text that many rows have, and leave it out.",
            )
    return rows


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
