"""Parquet's row groups: what is in memory at once, however a file is cut into them, and what is refused unread."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetuning.datasets import row_groups
from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.parquet import reframe
from finetuning.datasets.row_groups import batches
from tests.builders.datasets import any_chat_rows, parquet_of

MIB = 1 << 20


class Watched(io.BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def distinct_texts(mib: int) -> list[str]:
    """Texts of a kilobyte, which a dictionary does not shorten."""
    return [f"{number:08d}" * 128 for number in range(mib << 10)]


def rows_of(source: io.BytesIO) -> list[Any]:
    into = io.BytesIO()
    assert reframe(source, into) == into.getvalue().count(b"\n")
    return [json.loads(line) for line in into.getvalue().splitlines()]


def refusal_of(source: io.BytesIO) -> DataError:
    with pytest.raises(DataError) as refused:
        reframe(source, io.BytesIO())
    return refused.value


@contextmanager
def peak_of_arrow() -> Iterator[list[int]]:
    """The most bytes that Arrow holds in the block."""
    before = pa.default_memory_pool()
    pool, peak = pa.proxy_memory_pool(before), [0]
    pa.set_memory_pool(pool)
    try:
        yield peak
    finally:
        pa.set_memory_pool(before)
        peak[0] = pool.max_memory()


def test_a_large_row_group_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "COLUMN_BUFFER", MIB)
    source = parquet_of(pa.table({"text": distinct_texts(32)}), compression="none")
    with peak_of_arrow() as peak:
        assert sum(batch.num_rows for batch in batches(source)) == 32 << 10
    assert peak[0] < 8 * MIB


def test_a_row_group_with_texts_in_lists_takes_no_more_than_the_limit_assumes() -> None:
    turns = [[{"role": "user", "content": text}] for text in distinct_texts(32)]
    source = parquet_of(pa.table({"messages": turns}))
    with peak_of_arrow() as peak:
        assert sum(batch.num_rows for batch in batches(source)) == 32 << 10
    assert peak[0] < 5.5 * 33 * MIB


@pytest.mark.parametrize("rows", [100, 1000, 100_000], ids=lambda rows: f"row groups of {rows}")
def test_a_file_is_read_once_and_not_ahead(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(row_groups, "COLUMN_BUFFER", MIB)
    texts = distinct_texts(10)
    table = pa.table({"question": texts, "answer": texts[::-1]})
    source = Watched(parquet_of(table, row_group_size=rows, compression="none").getvalue())
    size = len(source.getbuffer())
    read = batches(source)
    next(read)
    assert source.count < size / 4
    assert sum(batch.num_rows for batch in read) > 9000
    assert size * 0.99 < source.count < size * 1.05


def test_only_so_many_rows_are_read_at_once_that_each_may_have_the_longest_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_groups, "MAX_BATCH_BYTES", 10_000)
    table = pa.table({"text": ["x" * 3000] * 50, "n": list(range(50))})
    source = parquet_of(table, write_statistics=False)
    assert max(batch.num_rows for batch in batches(source)) == 3
    assert rows_of(source) == table.to_pylist()


def test_a_row_of_binary_values_of_one_length_counts_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_BATCH_BYTES", 10_000)
    table = pa.table({"id": pa.array([b"x" * 2500] * 50, pa.binary(2500))})
    assert max(batch.num_rows for batch in batches(parquet_of(table))) == 4


@pytest.mark.parametrize("rows", [1, 7, 700, 1000, 1500])
@pytest.mark.parametrize("categories", [False, True])
def test_chats_in_row_groups_of_any_length_are_read(rows: int, categories: bool) -> None:
    chats = any_chat_rows(2100)
    table = pa.Table.from_pylist(chats)
    if categories:
        table = table.append_column("source", pa.array(["a", "b", "c"] * 700).dictionary_encode())
    assert rows_of(parquet_of(table, row_group_size=rows)) == table.to_pylist()


def test_a_row_group_whose_dictionaries_would_be_too_large_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 1 * MIB)
    table = pa.table({"messages": [[{"role": "user", "content": text}] for text in distinct_texts(4)]})
    source = Watched(parquet_of(table, compression="none").getvalue())
    error = refusal_of(source)
    assert error.code == ErrorCode.ROW_GROUP_TOO_LARGE
    assert error.message == (
        "Row group 1 of the Parquet file, of 4,096 rows, has lists or categories with 4 MiB of values; "
        "the limit is 1 MiB."
    )
    assert "row_group_size=1_000)" in error.fix
    assert source.count < len(source.getbuffer()) / 10
    assert rows_of(parquet_of(table, row_group_size=1_000)) == table.to_pylist()


def test_short_texts_in_lists_count_with_their_places_in_the_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = pa.table({"tags": [[str(number)] for number in range(20_000)]})
    source = parquet_of(tags)
    stored = pq.read_metadata(source).row_group(0).column(0).total_uncompressed_size
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", stored + 8 * 20_000 - 1)
    assert refusal_of(source).code == ErrorCode.ROW_GROUP_TOO_LARGE
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", stored + 8 * 20_000)
    assert rows_of(source) == tags.to_pylist()


def test_categories_are_dictionaries_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 1 * MIB)
    texts = pa.array(distinct_texts(4))
    assert refusal_of(parquet_of(pa.table({"text": texts.dictionary_encode()}))).code == ErrorCode.ROW_GROUP_TOO_LARGE
    assert len(rows_of(parquet_of(pa.table({"text": texts})))) == 4096


def test_texts_in_lists_that_share_no_bytes_need_no_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 200_000)
    table = pa.table({"texts": [[text] for text in distinct_texts(1)]})
    assert rows_of(parquet_of(table, use_dictionary=False)) == table.to_pylist()


@pytest.mark.parametrize("values", [pa.array([0] * 100_000), pa.nulls(100_000)], ids=["one number", "null"])
def test_a_list_of_one_value_a_hundred_thousand_times_counts_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch, values: Any
) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 500_000)
    table = pa.table({"list": pa.ListArray.from_arrays(pa.array([0, 100_000], pa.int32()), values)})
    error = refusal_of(parquet_of(table))
    assert error.code == ErrorCode.ROW_GROUP_TOO_LARGE
    assert "of 1 row, has lists" in error.message
    assert error.fix.startswith("Split the row")


def test_an_embedding_is_as_large_as_it_is_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 500_000)
    table = pa.table({"embedding": [[number + each / 7 for each in range(100)] for number in range(1000)]})
    assert rows_of(parquet_of(table)) == table.to_pylist()


def test_a_chunk_of_texts_that_decompresses_beyond_the_limit_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_groups, "EXPANSION_ALLOWED", 1 * MIB)
    table = pa.table({"text": ["x" * 5000 + str(number) for number in range(1000)]})
    error = refusal_of(parquet_of(table, compression="zstd", use_dictionary=False))
    assert error.code == ErrorCode.ROW_GROUP_TOO_LARGE
    assert "of 1,000 rows, has 4 MiB of text; the limit is 1 MiB" in error.message
    assert len(rows_of(parquet_of(table, compression="none", use_dictionary=False))) == 1000


DELTA = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")


@pytest.mark.parametrize("encoding", DELTA)
def test_texts_stored_as_differences_are_read(encoding: str) -> None:
    """Spark writes them with parquet.writer.version=v2."""
    table = pa.table({"text": [f"Question {number}" for number in range(3000)]})
    source = parquet_of(table, use_dictionary=False, column_encoding={"text": encoding})
    assert rows_of(source) == table.to_pylist()


@pytest.mark.parametrize("encoding", DELTA)
def test_only_texts_in_lists_that_share_bytes_cannot_be_stored_as_differences(encoding: str) -> None:
    table = pa.table({"texts": [[f"Question {number}"] for number in range(3000)]})
    source = parquet_of(table, use_dictionary=False, column_encoding={"texts.list.element": encoding})
    if encoding == "DELTA_LENGTH_BYTE_ARRAY":
        assert rows_of(source) == table.to_pylist()
        return
    error = refusal_of(source)
    assert (error.code, "texts.list.element" in error.message) == (ErrorCode.PARQUET_DAMAGED, True)
    assert "parquet.writer.version=v1" in error.fix


def test_rows_that_share_a_long_text_are_written_out_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 10_000)
    table = pa.table({"turns": [[{"role": "user", "content": "x" * 3000}]] * 50, "n": list(range(50))})
    sizes = [batch.num_rows for batch in batches(parquet_of(table))]
    assert sum(sizes) == 50
    assert max(sizes) == 3
    assert rows_of(parquet_of(table)) == table.to_pylist()


def test_rows_of_dictionaries_are_written_out_a_thousand_at_a_time() -> None:
    sizes = [batch.num_rows for batch in batches(parquet_of(pa.Table.from_pylist(any_chat_rows(2100))))]
    assert sizes == [1000, 1000, 100]


@pytest.mark.parametrize(
    "values",
    [
        ["x" * 3000] * 9,
        [None] * 11_000,
        [""] * 11_000,
        [True] * 11_000,
        [{"name" * 500: 1}] * 11,
    ],
    ids=["one text", "nulls", "empty texts", "bits", "long names"],
)
def test_a_row_that_is_beyond_a_record_as_json_is_named(monkeypatch: pytest.MonkeyPatch, values: list[Any]) -> None:
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(row_groups, "MAX_RECORD", 20_000)
    error = refusal_of(parquet_of(pa.table({"values": [values[:1], values]})))
    assert error.message.startswith("Row 2 of the Parquet file is longer than")
    assert error.fix.startswith("Split the row")


def test_a_row_too_long_is_counted_from_the_start_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_RECORD", 20_000)
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 20_000)
    table = pa.table({"text": ["short"] * 3600 + ["x" * 30_000]})
    assert refusal_of(parquet_of(table, row_group_size=1500)).message.startswith("Row 3601 of")


def test_a_long_name_of_a_column_counts_in_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 10_000)
    assert max(batch.num_rows for batch in batches(parquet_of(pa.table({"name" * 500: list(range(50))})))) <= 4


def test_one_value_in_all_rows_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "MAX_ROW_GROUP", 1000)
    assert rows_of(parquet_of(pa.table({"n": [7] * 1000}))) == [{"n": 7}] * 1000


def test_a_view_of_a_text_has_the_bytes_of_this_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(row_groups, "MAX_RECORD", 20_000)
    table = pa.table({"text": pa.array([f"{number}" * 3000 for number in range(10)], pa.string_view())})
    assert max(batch.num_rows for batch in batches(parquet_of(table))) == 3
    assert rows_of(parquet_of(table)) == table.to_pylist()


def test_a_list_of_nulls_beside_texts_in_lists_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "BATCH_BYTES", 10)
    nulls = pa.array([[None, None], None, [None]], pa.list_(pa.null()))
    table = pa.table({"texts": [["a"], ["b"], ["c"]], "nulls": nulls})
    assert rows_of(parquet_of(table)) == table.to_pylist()


def test_too_many_columns_are_refused_unread() -> None:
    table = pa.table({f"column {number}": ["a"] for number in range(2001)})
    source = parquet_of(table)
    assert refusal_of(source).message == "The first row has 2,001 columns; the limit is 2,000."


def test_a_file_with_one_byte_of_its_metadata_changed_is_read_or_refused() -> None:
    """pyarrow ends the process when Python asks for the metadata of a column that is invalid."""
    whole = parquet_of(pa.Table.from_pylist(any_chat_rows(3)), store_schema=False).getvalue()
    end = len(whole) - 8
    outcomes: set[int | ErrorCode] = set()
    for place in range(end - int.from_bytes(whole[end : end + 4], "little"), end):
        broken = bytearray(whole)
        broken[place] ^= 3
        try:
            outcomes.add(reframe(io.BytesIO(broken), io.BytesIO()))
        except DataError as error:
            outcomes.add(error.code)
    assert outcomes >= {3, ErrorCode.PARQUET_DAMAGED}
