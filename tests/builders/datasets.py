"""Rows and files of data."""

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions


def any_turn(role: str = "user", content: str = "Hello") -> dict[str, str]:
    return {"role": role, "content": content}


def any_dialog(about: object = "tea") -> list[dict[str, str]]:
    return [any_turn("user", f"What do you know of {about}?"), any_turn("assistant", f"A lot of {about}.")]


def any_chat_rows(count: int) -> list[dict[str, Any]]:
    return [{"messages": any_dialog(number)} for number in range(count)]


def as_lines(rows: Sequence[Any]) -> bytes:
    """Rows as JSONL; a row that is bytes is written unchanged."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def as_parquet(rows: Sequence[Any]) -> bytes:
    return parquet_of(pyarrow.Table.from_pylist(list(rows))).getvalue()


def parquet_of(table: pyarrow.Table, **options: Any) -> io.BytesIO:
    """`options`: of pyarrow's `write_table`."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, **options)
    return file


def any_file(folder: Path, content: bytes | Sequence[Any], name: str = "data.jsonl") -> Path:
    data = content if isinstance(content, bytes) else as_lines(content)
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def report_of(
    folder: Path,
    content: bytes | Sequence[Any],
    name: str = "data.jsonl",
    *,
    max_input_length: int | None = None,
    **options: Any,
) -> DatasetReport:
    """The report of one file, prepared with these `DataOptions`."""
    path = any_file(folder, content, name)
    return prepare_files([path], folder / "out", options=DataOptions(**options), max_input_length=max_input_length)


def channel(folder: Path, name: str = "train") -> bytes:
    """The data file of a channel, b"" if there is none."""
    files = list((folder / "out" / name).glob("data.*"))
    return files[0].read_bytes() if files else b""


def rows_of(folder: Path, *channels: str) -> list[Any]:
    """The rows of the channels; of train and validation if none is named."""
    return [
        json.loads(line) for name in channels or ("train", "validation") for line in channel(folder, name).splitlines()
    ]
