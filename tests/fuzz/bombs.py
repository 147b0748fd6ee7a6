"""Hostile files, each read in a process of its own: `make bombs` prints time, peak memory and the message.

A bomb fails if its reader holds more than half of its function's memory, takes more than `MOST_SECONDS`, or ends with
an error that is not one of the project's own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.builders import bombs

SHARD_MIB, PARQUET_MIB = 2048, 4096
"""Memory of PrepareShard and of ReframeParquet (infra/finetuning_cdk/constructs/workflow_functions.py)."""
MOST_SECONDS = 120
BOMBS: dict[bombs.Bomb, int] = {
    bombs.blanks_in_a_list: SHARD_MIB,
    bombs.brackets_and_blanks: SHARD_MIB,
    bombs.unclosed_escapes: SHARD_MIB,
    bombs.an_invalid_line_with_a_long_string: SHARD_MIB,
    bombs.one_long_word: SHARD_MIB,
    bombs.an_array_of_large_rows: SHARD_MIB,
    bombs.a_csv_record_of_many_lines: SHARD_MIB,
    bombs.an_endless_string: SHARD_MIB,
    bombs.many_invalid_lines: SHARD_MIB,
    bombs.many_blank_lines: SHARD_MIB,
    bombs.many_keys: SHARD_MIB,
    bombs.a_key_of_its_own_in_each_row: SHARD_MIB,
    bombs.keys_of_megabytes: SHARD_MIB,
    bombs.a_parquet_dictionary: PARQUET_MIB,
    bombs.many_parquet_columns: PARQUET_MIB,
    bombs.a_large_parquet_row_group: PARQUET_MIB,
    bombs.a_parquet_file_of_many_row_groups: PARQUET_MIB,
    bombs.parquet_texts_in_lists: PARQUET_MIB,
    bombs.a_parquet_list_of_one_value: PARQUET_MIB,
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


if __name__ == "__main__":
    main()
