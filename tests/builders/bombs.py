"""Hostile files, each made to exhaust the time or the memory of what reads it; smaller ones by their parameters."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

Bomb = Callable[[Path], Path]
"""Writes its file into the folder, and returns its path."""

GOOD = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello there"}]}\n'


def blanks_in_a_list(folder: Path) -> Path:
    return _written(folder / "a.jsonl", b'{"messages":"[' + b" " * 900_000 + b'"}\n')


def brackets_and_blanks(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b"[" + b" " * 65_000 + b"\n")


def unclosed_escapes(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b'{"a":"' + b'\\"' * 65_000 + b"\n")


def an_invalid_line_with_a_long_string(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b'{"messages": x"' + b"a" * 15_900_000 + b'"}\n')


def one_long_word(folder: Path) -> Path:
    """16 MB without a blank: a tokenizer that merges pairs takes time that grows faster than the word."""
    turns = [{"role": "user", "content": "y" * 16_000_000}, {"role": "assistant", "content": "ok"}]
    return _written(folder / "a.jsonl", GOOD * 3 + json.dumps({"messages": turns}).encode() + b"\n")


def an_array_of_large_rows(folder: Path, rows: int = 60) -> Path:
    """Rows of 10 MiB, and one that is no conversation."""
    turns = [{"role": "user", "content": "y" * (10 << 20)}, {"role": "assistant", "content": "ok"}]
    row = json.dumps({"messages": turns}).encode()
    with gzip.open(folder / "a.json.gz", "wb", compresslevel=1) as file:
        file.write(b"[")
        for _ in range(rows):
            file.write(row + b",")
        file.write(b'{"messages":7}]')
    return folder / "a.json.gz"


def a_csv_record_of_many_lines(folder: Path, characters: int = 3_000_000) -> Path:
    with (folder / "a.csv").open("w") as file:
        file.write(",".join(f"c{number}" for number in range(148)) + ",prompt,completion\n")
        file.write(",".join('"' + ("z" * characters + "\n") * 2 + '"' for _ in range(150)) + "\n")
    return folder / "a.csv"


def an_endless_string(folder: Path, megabytes: int = 1000) -> Path:
    with gzip.open(folder / "a.json.gz", "wb", compresslevel=1) as file:
        file.write(b'[{"messages":"')
        for _ in range(megabytes):
            file.write(b"a" * 10**6)
    return folder / "a.json.gz"


def many_invalid_lines(folder: Path, lines: int = 10_000_000) -> Path:
    with gzip.open(folder / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(GOOD * 5 + b"x\n" * lines)
    return folder / "a.jsonl.gz"


def many_blank_lines(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 5 + b"\n" * 64_000_000)


def many_keys(folder: Path) -> Path:
    row = {"prompt": "Hi", "completion": "Hello"} | {f"key{number}": 1 for number in range(1_200_000)}
    return _written(folder / "a.jsonl", json.dumps(row).encode() + b"\n")


def a_key_of_its_own_in_each_row(folder: Path, rows: int = 1_000_000) -> Path:
    with gzip.open(folder / "a.jsonl.gz", "wb", compresslevel=1) as file:
        for number in range(rows):
            file.write(b'{"prompt":"Hi %d","completion":"Ho","k%d":1}\n' % (number, number))
    return folder / "a.jsonl.gz"


def keys_of_megabytes(folder: Path, rows: int = 400) -> Path:
    """The longest in the first megabyte would be a column of the file, and refused at once."""
    with gzip.open(folder / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(GOOD)
        for number in range(rows):
            key = b"k" * 5_000_000 + b"%d" % number
            file.write(b'{"messages":[{"role":"user","content":"Hi %d","%s":1},' % (number, key))
            file.write(b'{"role":"assistant","content":"Hello there"}],"%s":1}\n' % key)
    return folder / "a.jsonl.gz"


def a_parquet_dictionary(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x " * 4_000_000]))
    pq.write_table(pa.table({"text": text}), folder / "a.parquet", compression="zstd")
    return folder / "a.parquet"


def many_parquet_columns(folder: Path, columns: int = 50_000) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({f"col{number}": ["a"] for number in range(columns)}), folder / "a.parquet")
    return folder / "a.parquet"


def a_large_parquet_row_group(folder: Path, mebibytes: int = 700) -> Path:
    """Rows of a kilobyte, no two of them equal, in one row group, as pandas writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"{number:08d} " * 114 for number in range(mebibytes << 10)]
    pq.write_table(pa.table({"text": texts}), folder / "a.parquet", row_group_size=len(texts))
    return folder / "a.parquet"


def a_parquet_file_of_many_row_groups(folder: Path, mebibytes: int = 2000) -> Path:
    """Larger than half of the function's memory; no row group is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": [f"{number:08d} " * 1820 for number in range(5 << 6)]})
    with pq.ParquetWriter(folder / "a.parquet", table.schema, compression="none") as writer:
        for _ in range(mebibytes // 5):
            writer.write_table(table)
    return folder / "a.parquet"


def parquet_texts_in_lists(folder: Path, mebibytes: int = 300) -> Path:
    """Chats in the largest row group that may have texts in lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"{number:08d} " * 114 for number in range(mebibytes << 10)]
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Yes"}] for text in texts]
    pq.write_table(pa.table({"messages": turns}), folder / "a.parquet", row_group_size=len(texts))
    return folder / "a.parquet"


def a_parquet_list_of_one_value(folder: Path, values: int = 150_000_000) -> Path:
    """A kilobyte: one row, whose list has the same number again and again."""
    import numpy
    import pyarrow as pa
    import pyarrow.parquet as pq

    zeros = pa.array(numpy.zeros(values, numpy.int8))
    lists = pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), zeros)
    pq.write_table(pa.table({"text": ["Hi"], "list": lists}), folder / "a.parquet", compression="zstd")
    return folder / "a.parquet"


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
