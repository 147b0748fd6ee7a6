"""Parquet written out as JSON Lines, in a function of its own: pyarrow is too large for the layer of the others."""

import gzip
import shutil
from datetime import date, datetime, time
from decimal import Decimal
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import orjson

BATCH_ROWS = 1000
GZIP = b"\x1f\x8b"


def reframe(source: BinaryIO, into: BinaryIO) -> int:
    """Writes every row of a Parquet file as a line of JSON; the number of rows.

    `source` must be seekable. Raises `pyarrow.lib.ArrowException`, or an `OSError` of gzip's, for a damaged file.
    """
    import pyarrow.parquet  # here: only the Parquet function has it

    source.seek(0)
    if source.read(len(GZIP)) == GZIP:
        source.seek(0)
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(gzip.GzipFile(fileobj=source), unpacked)
            return reframe(cast(BinaryIO, unpacked), into)
    rows = 0
    for batch in pyarrow.parquet.ParquetFile(source).iter_batches(batch_size=BATCH_ROWS):
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
