"""What an upload may make a function hold or do at once, format by format."""

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from finetuning.datasets import conversion, data_errors, framing, parquet, row_groups, shard
from finetuning.datasets.data_errors import DataError, ErrorCode, naming
from finetuning.datasets.framing import Record, batches, csv_rows, json_values
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.parquet import reframe
from tests.builders.datasets import any_chat_rows, as_lines, parquet_of

GOOD = as_lines(any_chat_rows(3))


def read(records: Iterator[tuple[int, Record]]) -> list[tuple[int, Any]]:
    """Line and record, or the code of the error that stands for it."""
    return [(line, each.code if isinstance(each, DataError) else each) for line, each in records]


def any_buffer(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]  # a raw reader as far as it is used


def test_a_batch_ends_with_the_record_that_exceeds_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "BATCH_BYTES", 100)
    records: list[tuple[int, Record]] = [(number, b"x" * 60) for number in range(5)]
    assert [len(batch.records) for batch in batches(iter(records))] == [2, 2, 1]
    rows: list[tuple[int, Record]] = [(number, {"a": "x" * 30, "b": "y" * 30}) for number in range(3)]
    assert [len(batch.records) for batch in batches(iter(rows))] == [2, 1]


@pytest.mark.parametrize("chunk", [7, 64, 1 << 20])
def test_a_string_may_end_in_any_chunk(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(framing, "CHUNK", chunk)
    values = [{"a": 'quoted " and \\ and ]}, ' * 9}, {"b": ["", "x" * 200]}, {"c": "\\"}]
    found = read(json_values(any_buffer(json.dumps(values).encode()), depth=1))
    assert [json.loads(record) for _, record in found] == values


def test_a_string_without_an_end_is_one_error_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_RECORD", 1000)
    monkeypatch.setattr(framing, "CHUNK", 100)
    held: list[int] = []
    match = framing._STRING_END.match

    class Watched:
        @staticmethod
        def match(buffer: bytes, scanned: int) -> re.Match[bytes] | None:
            held.append(len(buffer) - scanned)
            return match(buffer, scanned)

    monkeypatch.setattr(framing, "_STRING_END", Watched)
    data = b'[{"a": "' + b"x" * 50_000
    assert read(json_values(any_buffer(data), depth=1)) == [(1, ErrorCode.LINE_TOO_LONG)]
    assert len(held) > 400  # each chunk is looked at,
    assert max(held) <= 101  # and none of it twice


@pytest.fixture
def rows_of_50(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The limit of a row, which is also a setting of the csv module: of the whole process."""
    limit = csv.field_size_limit()
    monkeypatch.setattr(framing, "MAX_RECORD", 50)
    yield
    csv.field_size_limit(limit)


@pytest.mark.usefixtures("rows_of_50")
def test_a_csv_row_is_limited_as_a_whole() -> None:
    data = b"a,b\n" + b'"1234567890\n",' * 9 + b"\n"
    first, second, *_ = read(csv_rows(any_buffer(data), ",", ("left", "right"), skip=False))
    assert first == (1, {"left": "a", "right": "b"})
    assert second == (2, ErrorCode.LINE_TOO_LONG)


@pytest.mark.parametrize("filler", [b"\n", b" \r\n", b"x\n"])
def test_dense_lines_are_counted_as_if_each_were_read(
    filler: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "dense.jsonl"
    path.write_bytes(GOOD + filler * 5000 + GOOD + filler * 300_000)
    reports = []
    for dense in (10**9, 1000):
        monkeypatch.setattr(shard, "DENSE_BATCH", dense)
        reports.append(prepare_files([path], options=DataOptions(max_error_fraction=1)))
    assert reports[0] == reports[1]
    assert reports[0].rows.lines == 305_006
    assert reports[0].rows.blank + reports[0].rows.errors == 305_000


def test_a_parquet_file_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "EXPANSION_ALLOWED", 1 << 20)
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 1 << 18)
    table = pa.table({"text": pa.array(["x" * 5000] * 20_000)})
    into = io.BytesIO()
    with pytest.raises(DataError, match="limit for a file of this size"):
        reframe(parquet_of(table), into)
    assert len(into.getvalue()) < 3 << 20


def test_a_gzip_stream_that_grows_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(framing, "MAX_INFLATED", 1 << 20)
    path = tmp_path / "chat.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + b"\n" * (1 << 21)))
    report = prepare_files([path], options=DataOptions(max_error_fraction=1))
    assert report.error_counts == {"COMPRESSION": 1}
    assert "expands to more than 1 MiB" in report.errors[0].message


def test_a_table_of_too_many_columns_is_refused_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "wide.jsonl"
    path.write_bytes(as_lines([{f"column {number}": "text" for number in range(2001)}]))
    report = prepare_files([path])
    assert report.refusal is not None
    assert report.refusal.message.endswith("The first row has 2,001 columns; the limit is 2,000.")
    assert len(report.model_dump_json()) < 10_000


def test_a_message_names_some_columns_and_counts_the_others() -> None:
    assert naming(["a", "b"]) == "a, b"
    named = naming(["x" * 500] + [f"c{number}" for number in range(1000)])
    assert named.startswith("x" * 60 + "…, c0, ")
    assert named.endswith("c18 and 981 more")


def test_a_report_stays_small_whatever_the_rows_hold(tmp_path: Path) -> None:
    rows = [row | {f"extra {number} {each}": 1 for each in range(60)} for number, row in enumerate(any_chat_rows(4))]
    rows[0]["messages"][1]["content"] = "x" * 1_000_000
    path = tmp_path / "chat.jsonl"
    path.write_bytes(as_lines(rows))
    report = prepare_files([path])
    assert len(report.ignored_columns) == 100
    assert "Unused columns that are not listed: at least 140." in report.notes
    assert max(map(len, report.samples)) == 20_001
    assert len(report.model_dump_json()) < 60_000


def test_the_names_of_the_first_row_s_columns_are_limited_together(tmp_path: Path) -> None:
    path = tmp_path / "wide.jsonl"
    path.write_bytes(as_lines([{"prompt": "Hi", "completion": "Hello", "k" * 100_000: 1}]))
    report = prepare_files([path])
    assert report.refusal is not None
    assert (
        "The names of the first row's columns have 100,016 characters; the limit is 100,000." in report.refusal.message
    )
    assert len(report.model_dump_json()) < 10_000


def test_a_column_with_a_long_name_is_listed_by_the_start_of_it(tmp_path: Path) -> None:
    rows = any_chat_rows(3)
    rows[1] |= {"x" * 100_000: 1}
    rows[2]["messages"][0] |= {"y" * 100_000: 1}
    path = tmp_path / "chat.jsonl"
    path.write_bytes(as_lines(rows))
    assert prepare_files([path]).ignored_columns == {"x" * 60 + "…": 1, "turn." + "y" * 60 + "…": 1}


def test_an_error_at_a_long_name_is_short(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(GOOD + b'{"%s":1,"%s":2,"prompt":"Hi","completion":"Ho"}\n' % (b"x" * 100_000, b"x" * 100_000))
    (error,) = prepare_files([path], options=DataOptions(max_error_fraction=1)).errors
    assert error.code == ErrorCode.JSON_DUPLICATE_KEY
    assert error.path == "x" * 2000 + "…"
    assert error.message.startswith("The key xxx")
    assert len(error.message) == 2001


def test_layouts_and_names_are_forgotten_once_there_are_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(data_errors, "IGNORED_KEPT", 10)
    monkeypatch.setattr(conversion, "LAYOUT_NAMES", 200)
    held: list[int] = []
    retire = conversion.Converter._retire

    def watched(self: conversion.Converter) -> None:
        held.append(self._names_held)
        retire(self)
        assert len(self._ignored) <= 20

    monkeypatch.setattr(conversion.Converter, "_retire", watched)
    rows = [row | {"often": 1, f"extra {number}": 1} for number, row in enumerate(any_chat_rows(200))]
    path = tmp_path / "chat.jsonl"
    path.write_bytes(as_lines(rows))
    report = prepare_files([path])
    assert len(held) > 10
    assert max(held) < 230
    assert next(iter(report.ignored_columns.items())) == ("often", 200)
    assert len(report.ignored_columns) <= 21
