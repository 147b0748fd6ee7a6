"""`make bench-data`: how fast the data preparation is, as a ratio to parsing the same file with orjson alone.

Every measurement is a process of its own: CPU seconds (user and system) and peak memory are its own. The best of the
rounds counts. The reference is orjson on the file itself if it is JSON Lines, or on as many bytes of the same rows as
JSON Lines. The second table computes how long an upload takes to the start of its training.
"""

import argparse
import csv
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from finetuning.aws.s3_streams import COPIES_AT_ONCE, S3Workspace, s3_reader
from finetuning.datasets.detection import HEAD_BYTES, detect
from finetuning.datasets.join import join_shards
from finetuning.datasets.limits import MAX_DIGESTED
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.outputs import BYTES_OF_A_DIGEST, DIGEST_BYTES
from finetuning.datasets.preparation import SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.datasets.shard import write_shard
from finetuning.datasets.workspace import BUFFER
from finetuning.operations.preflight import MOST_SHARDS_AT_ONCE
from finetuning.settings import StageSettings

PROJECT = Path(__file__).resolve().parents[1]
MEGABYTE = 1 << 20
BUCKET, DATA, KEY_ARN = "bench", "data.jsonl", "arn:aws:kms:us-east-1:000000000000:key/bench"

WORDS = """
    the of and to in is you that it he was for on are as with his they I at be this have from or one had by word but
    not what all were we when your can said there use an each which she do how their if will up other about out many
    then them these so some her would make like him into time has look two more write go see number no way could
    people my than first water been call who oil its now find long down day did get come made may part temperature
""".split()  # noqa: SIM905 - it reads better


def any_text(chance: random.Random, length: int) -> str:
    """Prose as people and models write it: paragraphs, a quotation here and there, a typographic apostrophe."""
    parts: list[str] = []
    size = 0
    while size < length:
        sentence = " ".join(chance.choices(WORDS, k=chance.randint(4, 16))).capitalize()
        if chance.random() < 0.15:
            sentence = f'"{sentence}"'
        if chance.random() < 0.10:
            sentence += ", isn\u2019t it"
        sentence += chance.choice((". ", ". ", "? ", ".\n", ":\n\n- "))
        parts.append(sentence)
        size += len(sentence)
    return "".join(parts)[:length].strip() or "Yes."


CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувжьыз")

Rows = Iterator[dict[str, Any]]


def chat_rows(row_bytes: int, alphabet: dict[int, str] | None = None) -> Rows:
    """Conversations, none of them twice."""
    chance = random.Random(row_bytes)  # noqa: S311 - texts, not secrets
    turns = 6 if row_bytes > 1000 else 2
    pool = [any_text(chance, max(20, row_bytes // turns - 48)).translate(alphabet or {}) for _ in range(2000)]
    roles = ("user", "assistant") * (turns // 2)
    for number in count():
        texts = [f"{number} {text}" for text in chance.choices(pool, k=turns)]
        yield {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]}


def column_rows(row_bytes: int, *columns: str) -> Rows:
    """A text in each column, no row twice."""
    chance = random.Random(row_bytes)  # noqa: S311 - texts, not secrets
    pool = [any_text(chance, row_bytes // len(columns)) for _ in range(2000)]
    for number in count():
        yield {column: f"{number} {chance.choice(pool)}" for column in columns}


def as_json_lines(rows: Rows, path: Path, size: int) -> None:
    """Rows as json.dumps writes them by default."""
    with path.open("w", encoding="utf-8") as file:
        written = 0
        while written < size:
            written += file.write(json.dumps(next(rows)) + "\n")


def as_raw_json_lines(rows: Rows, path: Path, size: int) -> None:
    """The same, with all characters as they are."""
    with path.open("wb") as file:
        written = 0
        while written < size:
            written += file.write(orjson.dumps(next(rows)) + b"\n")


def as_array(rows: Rows, path: Path, size: int) -> None:
    as_json_lines(rows, path, size)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"[" + b",\n".join(lines) + b"]")


def as_csv(rows: Rows, path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question", "answer"))
        while file.tell() < size:
            writer.writerow(next(rows).values())


def as_parquet(rows: Rows, path: Path, size: int) -> None:
    import pyarrow
    import pyarrow.parquet

    as_json_lines(rows, path, size)
    table = pyarrow.Table.from_pylist([orjson.loads(line) for line in path.read_bytes().splitlines()])
    pyarrow.parquet.write_table(table, path)


def as_text(rows: Rows, path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        written = 0
        while written < size:
            written += file.write(" ".join(next(rows)["text"].split()) + "\n")


@dataclass(frozen=True)
class RowKind:
    """A kind of data: its rows, how they are written, and the bars: the share of parse-only and the peak memory.

    `share`: of the size that is measured. Parquet has the size of its rows as JSON Lines, and needs pyarrow beside the
    rest.
    """

    rows: Callable[[], Rows]
    write: Callable[[Rows, Path, int], None]
    name: str
    bar: float
    share: float = 0.25
    rss_mb: int = 192
    """What the bar was before tokens were counted, 128 MB, and the vocabulary with which they are."""


KINDS = {
    "chat 3 KB": RowKind(lambda: chat_rows(3200), as_json_lines, "data.jsonl", 0.27, share=1),
    "chat 200 B": RowKind(lambda: chat_rows(200), as_json_lines, "data.jsonl", 0.20),
    "chat, non-Latin": RowKind(lambda: chat_rows(1600, CYRILLIC), as_raw_json_lines, "data.jsonl", 0.25),
    "instruction 200 B": RowKind(
        lambda: column_rows(200, "instruction", "input", "output"), as_json_lines, "data.jsonl", 0.10
    ),
    "CSV": RowKind(lambda: column_rows(400, "question", "answer"), as_csv, "data.csv", 0.10),
    "array": RowKind(lambda: chat_rows(800), as_array, "data.json", 0.10),
    "Parquet": RowKind(lambda: column_rows(400, "question", "answer"), as_parquet, "data.parquet", 0.10, rss_mb=320),
    "text": RowKind(lambda: column_rows(200, "text"), as_text, "data.txt", 0.10),
}
"""Bars: no kind below a tenth of parsing alone; chat as measured on 26 November 2026, less a tenth."""

S3_TO_S3 = "chat 3 KB, S3 to S3"
S3_BAR = 0.17


# -- what is measured, each in a process of its own ------------------------------------------------------------------


def parse_only(path: Path) -> None:
    with path.open("rb", buffering=BUFFER) as file:
        for line in file:
            orjson.loads(line)


def ours(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        report = prepare_files([path], Path(out))
        assert report.ok


def ours_over_s3(path: Path) -> None:
    """The steps of the workflow, from the object uploaded to the channels: read, prepared, written, joined."""
    from finetuning.aws.clients import client

    s3, size = client("s3"), path.stat().st_size
    workspace = S3Workspace(s3, BUCKET, "runs/bench/", KEY_ARN)
    with s3_reader(s3, BUCKET, DATA) as source:
        detection = detect(source.read(HEAD_BYTES), DATA, size)
    options = DataOptions()
    file = SourceFile(name=DATA, bucket=BUCKET, key=DATA, size=size, detection=detection)
    preparation = prepare([file], resolve([(DATA, detection)], options), options)
    for shard in preparation.shards:
        with s3_reader(s3, BUCKET, DATA, max(shard.start - 1, 0)) as source:
            write_shard(preparation, shard, source, workspace, "shards/")
    assert join_shards(preparation, workspace, "shards/", "dataset/").ok


SUBJECTS: dict[str, Callable[[Path], None]] = {
    "orjson parse-only": parse_only,
    "ours": ours,
    "ours, S3 to S3": ours_over_s3,
}


@dataclass(frozen=True)
class Measurement:
    cpu_seconds: float
    rss_mb: float


def measure_here(subject: str, path: Path) -> None:
    """Measures in this process and prints the result as JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    SUBJECTS[subject](path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(json.dumps({"cpu_seconds": seconds, "rss_mb": _peak_rss_mb()}))


def _peak_rss_mb() -> float:
    """Of this program; getrusage would count what its parent held when it started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measured(subject: str, path: Path, environment: dict[str, str] | None = None) -> Measurement:
    command = [sys.executable, "-m", "benchmarks.bench_data", "--subject", subject, "--file", str(path)]
    environment = {**(environment or os.environ), "PYTHONPATH": f"{PROJECT / 'lambda'}{os.pathsep}{PROJECT}"}
    printed = subprocess.run(  # noqa: S603 - our own command
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return Measurement(**json.loads(printed.stdout))


def best_of(
    rounds: int, subjects: Sequence[str], path: Path, environment: dict[str, str] | None
) -> Iterator[Measurement]:
    """The best of each subject, rounds interleaved; its memory is the largest of all."""
    runs = [[measured(subject, path, environment) for subject in subjects] for _ in range(rounds)]
    for of_one in zip(*runs, strict=True):
        yield Measurement(min(run.cpu_seconds for run in of_one), max(run.rss_mb for run in of_one))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_data")
    parser.add_argument("--megabytes", type=int, default=1024, help="of the 3 KB rows; the others take a share of it")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--subject", choices=SUBJECTS)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.subject:
        measure_here(options.subject, options.file)
        return 0
    return bench(options.megabytes, options.rounds)


def bench(megabytes: int, rounds: int) -> int:
    """Prints the tables; the exit code is 1 where a bar is missed."""
    table = Table("Rows", "MB per CPU-second", "Share of parse-only", "Bar", "Peak RSS", "Bar")
    missed, speeds = False, {}
    with tempfile.TemporaryDirectory(dir=PROJECT / ".rehearsal") as folder:
        for name, kind, measure in [
            *((name, kind, best_of) for name, kind in KINDS.items()),
            (S3_TO_S3, replace(KINDS["chat 3 KB"], bar=S3_BAR, share=0.25), partial(_over_s3, Path(folder))),
        ]:
            path, parsed = Path(folder) / kind.name, Path(folder) / "data.jsonl"
            size = int(megabytes * MEGABYTE * kind.share)
            with Console(stderr=True).status(f"Measuring {name}"):
                if parsed != path:
                    as_json_lines(kind.rows(), parsed, size)
                kind.write(kind.rows(), path, size)
                (parse,) = best_of(rounds, ["orjson parse-only"], parsed, None)
                (ours_,) = measure(rounds, ["ours, S3 to S3" if name == S3_TO_S3 else "ours"], path, None)
            share = parse.cpu_seconds / ours_.cpu_seconds
            fast, small = share >= kind.bar, ours_.rss_mb < kind.rss_mb
            missed = missed or not (fast and small)
            speeds[name] = size / 1e6 / ours_.cpu_seconds
            bars = (f"{'≥' if fast else 'missed:'} {kind.bar:.2f}", f"{'<' if small else 'missed:'} {kind.rss_mb}")
            table.add_row(name, f"{speeds[name]:,.0f}", f"{share:.2f}", bars[0], f"{ours_.rss_mb:.0f} MB", bars[1])
    Console().print(table)
    Console().print(upload_times(speeds[S3_TO_S3]))
    return int(missed)


SHARD_MB = StageSettings.model_fields["shard_bytes"].default / 1e6
STARTS_SECONDS = 12
"""Of PlanRun, PlanShards, the Map's first PrepareShard, FinishDataset and StartTraining: cold starts, account checks.
Assumed; it awaits a run in AWS, as the three below do."""
CPU_SHARE = 0.6
"""Of a Lambda vCPU beside a core of this machine."""
COPY_SECONDS = 4
"""For the copy of one shard's output inside S3."""
FINISH_SECONDS = 900
"""The longest that a function may take."""
FINISH_MEMORY = 2 << 30
"""Of FinishDataset."""
READ_MB_PER_SECOND = 80
"""At which FinishDataset reads from S3: the training channel for its SHA-256, and the digests of rows."""
COMPARED_PER_SECOND = 2e6
"""Digests of rows that a core of this machine looks up."""
ROW_BYTES = 3200


def upload_times(mb_per_second: float) -> Table:
    """From the last uploaded byte to StartTraining, computed for chat rows of 3 KB as JSON Lines."""
    at_once = FINISH_MEMORY // 2 // BYTES_OF_A_DIGEST
    caption = (
        f"{STARTS_SECONDS} s of starts + prepare: ⌈shards / {MOST_SHARDS_AT_ONCE}⌉ × {SHARD_MB:.0f} MB / "
        f"({mb_per_second:.0f} MB/s × {CPU_SHARE}) + finish (at most {FINISH_SECONDS} s): copies, "
        f"shards × {COPY_SECONDS} s / {COPIES_AT_ONCE}; duplicates, "
        f"rows / ({COMPARED_PER_SECOND:,.0f} × {CPU_SHARE}) + "
        f"⌈rows / {at_once:,}⌉ × rows × {DIGEST_BYTES} B / {READ_MB_PER_SECOND} MB/s; SHA-256, bytes / "
        f"{READ_MB_PER_SECOND} MB/s, for at most {MAX_DIGESTED / 1e9:.0f} GB"
    )
    table = Table("Upload", "Shards", "Prepare", "Finish", "Seconds", "Bar", title="Upload to StartTraining")
    table.caption = caption
    for gigabytes, bar in ((1, 30), (10, 120), (100, 600)):
        megabytes = gigabytes * 1000
        shards, rows = math.ceil(megabytes / SHARD_MB), megabytes * 1e6 / ROW_BYTES
        prepare = math.ceil(shards / MOST_SHARDS_AT_ONCE) * SHARD_MB / (mb_per_second * CPU_SHARE)
        finish = (
            shards * COPY_SECONDS / COPIES_AT_ONCE
            + rows / (COMPARED_PER_SECOND * CPU_SHARE)
            + math.ceil(rows / at_once) * rows * DIGEST_BYTES / (READ_MB_PER_SECOND * 1e6)
            + (megabytes / READ_MB_PER_SECOND if megabytes * 1e6 <= MAX_DIGESTED else 0)
        )
        seconds = STARTS_SECONDS + prepare + finish
        met = "≤" if seconds <= bar and finish <= FINISH_SECONDS else "missed:"
        table.add_row(
            f"{gigabytes} GB", f"{shards:,}", f"{prepare:,.0f}", f"{finish:,.0f}", f"{seconds:,.0f}", f"{met} {bar}"
        )
    return table


def _over_s3(
    folder: Path, rounds: int, subjects: Sequence[str], path: Path, environment: dict[str, str] | None
) -> Iterator[Measurement]:
    """Measures against an emulated S3, in whose process the other half of the work is done."""
    from rehearsal import running

    emulator = running.start(folder / "emulator", folder)
    try:
        s3 = emulator.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        with path.open("rb") as file:
            s3.upload_fileobj(file, BUCKET, DATA)
        yield from best_of(rounds, subjects, path, emulator.environment())
    finally:
        emulator.stop()


if __name__ == "__main__":
    sys.exit(main())
