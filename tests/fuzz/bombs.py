"""Hostile files, each read in a process of its own: `make bombs` prints time, peak memory and the message.

A bomb fails if its reader holds more than half of its function's memory, takes more than `MOST_SECONDS`, or ends with
an error that is not one of the project's own.
"""

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SHARD_MIB, PARQUET_MIB = 2048, 4096
"""Memory of PrepareShard and of ReframeParquet (infra/constructs/workflow_functions.py)."""
MOST_SECONDS = 120
GOOD = b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello there"}]}\n'


def blanks_in_a_list(folder: Path) -> Path:
    return _written(folder / "a.jsonl", b'{"messages":"[' + b" " * 900_000 + b'"}\n')


def brackets_and_blanks(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b"[" + b" " * 65_000 + b"\n")


def unclosed_escapes(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b'{"a":"' + b'\\"' * 65_000 + b"\n")


def an_invalid_line_with_a_long_string(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 3 + b'{"messages": x"' + b"a" * 15_900_000 + b'"}\n')


def an_array_of_large_rows(folder: Path) -> Path:
    turns = [{"role": "user", "content": "y" * (10 << 20)}, {"role": "assistant", "content": "ok"}]
    row = json.dumps({"messages": turns}).encode()
    with (folder / "a.json").open("wb") as file:
        file.write(b"[")
        for number in range(60):
            file.write((b"," if number else b"") + row)
        file.write(b"]")
    return folder / "a.json"


def a_csv_record_of_many_lines(folder: Path) -> Path:
    with (folder / "a.csv").open("w") as file:
        file.write(",".join(f"c{number}" for number in range(148)) + ",prompt,completion\n")
        file.write(",".join('"' + ("z" * 3_000_000 + "\n") * 2 + '"' for _ in range(150)) + "\n")
    return folder / "a.csv"


def an_endless_string(folder: Path) -> Path:
    with gzip.open(folder / "a.json.gz", "wb", compresslevel=1) as file:
        file.write(b'[{"messages":"')
        for _ in range(100):
            file.write(b"a" * 10**7)
    return folder / "a.json.gz"


def many_invalid_lines(folder: Path) -> Path:
    with gzip.open(folder / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(GOOD * 5 + b"x\n" * 10_000_000)
    return folder / "a.jsonl.gz"


def many_blank_lines(folder: Path) -> Path:
    return _written(folder / "a.jsonl", GOOD * 5 + b"\n" * 64_000_000)


def many_keys(folder: Path) -> Path:
    row = {"prompt": "Hi", "completion": "Hello"} | {f"key{number}": 1 for number in range(1_200_000)}
    return _written(folder / "a.jsonl", json.dumps(row).encode() + b"\n")


def a_parquet_dictionary(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x " * 4_000_000]))
    pq.write_table(pa.table({"text": text}), folder / "a.parquet", compression="zstd")
    return folder / "a.parquet"


def many_parquet_columns(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({f"col{number}": ["a"] for number in range(50_000)}), folder / "a.parquet")
    return folder / "a.parquet"


BOMBS: dict[Callable[[Path], Path], int] = {
    blanks_in_a_list: SHARD_MIB,
    brackets_and_blanks: SHARD_MIB,
    unclosed_escapes: SHARD_MIB,
    an_invalid_line_with_a_long_string: SHARD_MIB,
    an_array_of_large_rows: SHARD_MIB,
    a_csv_record_of_many_lines: SHARD_MIB,
    an_endless_string: SHARD_MIB,
    many_invalid_lines: SHARD_MIB,
    many_blank_lines: SHARD_MIB,
    many_keys: SHARD_MIB,
    a_parquet_dictionary: PARQUET_MIB,
    many_parquet_columns: PARQUET_MIB,
}


def main() -> None:
    if len(sys.argv) == 2:
        _read(Path(sys.argv[1]))
        return
    failed = 0
    for bomb, mib in BOMBS.items():
        with tempfile.TemporaryDirectory(prefix="bomb-") as folder:
            failed += not _exploded(bomb(Path(folder)), bomb.__name__, mib)
    print(f"{len(BOMBS)} bombs, {failed} failed")
    sys.exit(bool(failed))


def _exploded(path: Path, name: str, mib: int) -> bool:
    """Reads the file in a process of its own; True if the reader stayed within its limits."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.bombs", path], capture_output=True, text=True, timeout=MOST_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"✗ {name}: over {MOST_SECONDS} s")
        return False
    if done.returncode:
        print(f"✗ {name}: {(done.stderr.splitlines() or ['killed'])[-1]}")
        return False
    said = json.loads(done.stdout)
    ratio = said["peak_mib"] / mib
    within = ratio < 0.5
    seconds = time.monotonic() - began
    print(f"{'✓' if within else '✗'} {name}: {seconds:.1f} s, {said['peak_mib']} MiB ({ratio:.2f}): {said['message']}")
    return within


def _read(path: Path) -> None:
    from finetuning.datasets.offline import prepare_files

    report = prepare_files([path], None)
    message = report.refusal.message if report.refusal else f"{report.rows.kept} rows"
    print(json.dumps({"peak_mib": _peak_mib(), "message": message.replace(f"{path.parent}/", "")[:150]}))


def _peak_mib() -> int:
    """This process's peak. On Linux not `ru_maxrss`, which begins with the memory of the process that started it."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    main()
