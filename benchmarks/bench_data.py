"""`make bench-data`: how fast the data preparation is, as a ratio to parsing the same file with orjson alone.

Every measurement is a process of its own: CPU seconds (user and system) and peak memory are its own. Rounds are
interleaved and the best of each counts, so that a busy machine slows all of them alike.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from finetuning.aws.s3_streams import S3Workspace, s3_reader
from finetuning.datasets.detection import HEAD_BYTES, detect
from finetuning.datasets.join import join_shards
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.preparation import SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.datasets.shard import write_shard
from finetuning.datasets.workspace import BUFFER

PROJECT = Path(__file__).resolve().parents[1]
MEGABYTE = 1 << 20
BARS = {"3 KB rows": 0.40, "200 B rows": 0.22, "S3 to S3": 0.30}
MAX_RSS_MB = 128
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


def generate(path: Path, row_bytes: int, megabytes: int) -> None:
    """Writes chat rows as json.dumps does by default, none of them a duplicate."""
    chance = random.Random(row_bytes)  # noqa: S311 - texts, not secrets
    turns = 6 if row_bytes > 1000 else 2
    pool = [any_text(chance, max(20, row_bytes // turns - 48)) for _ in range(2000)]
    written = number = 0
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * MEGABYTE:
            texts = [f"{number} {text}" for text in chance.choices(pool, k=turns)]
            roles = ("user", "assistant") * (turns // 2)
            messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
            written += file.write(json.dumps({"messages": messages}) + "\n")
            number += 1


# -- what is measured, each in a process of its own ------------------------------------------------------------------


def parse_only(path: Path, loads: Callable[[bytes], Any] = orjson.loads) -> None:
    with path.open("rb", buffering=BUFFER) as file:
        for line in file:
            loads(line)


def parse_with_stdlib(path: Path) -> None:
    parse_only(path, json.loads)


def parse_and_write(path: Path) -> None:
    """The least there is to any preparation: nothing is checked, nothing counted."""
    with path.open("rb", buffering=BUFFER) as file, tempfile.TemporaryFile(buffering=BUFFER, dir=path.parent) as out:
        for line in file:
            out.write(orjson.dumps({"dialog": orjson.loads(line)["messages"]}, None, orjson.OPT_APPEND_NEWLINE))


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
    "orjson parse, write": parse_and_write,
    "stdlib json": parse_with_stdlib,
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
    parser.add_argument("--megabytes", type=int, default=1024, help="of the 3 KB rows; the others take a quarter of it")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--subject", choices=SUBJECTS)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.subject:
        measure_here(options.subject, options.file)
        return 0
    return bench(options.megabytes, options.rounds)


def bench(megabytes: int, rounds: int) -> int:
    """Prints the table; the exit code is 1 where a bar is missed."""
    table = Table("Data", "Subject", "MB per CPU-second", "Ratio", "Bar", "Peak RSS", title_justify="left")
    missed = False
    with tempfile.TemporaryDirectory(dir=PROJECT / ".rehearsal") as folder:
        path = Path(folder) / DATA
        plans: list[tuple[str, int, int, Sequence[str]]] = [
            ("3 KB rows", 3200, megabytes, ["orjson parse-only", "orjson parse, write", "stdlib json", "ours"]),
            ("200 B rows", 200, megabytes // 4, ["orjson parse-only", "orjson parse, write", "stdlib json", "ours"]),
            ("S3 to S3", 3200, megabytes // 4, ["orjson parse-only", "ours, S3 to S3"]),
        ]
        for data, row_bytes, size_mb, subjects in plans:
            with Console(stderr=True).status(f"Measuring {data}: {size_mb:,} MB"):
                generate(path, row_bytes, size_mb)
                if data == "S3 to S3":
                    results = list(_over_s3(rounds, subjects, path, Path(folder)))
                else:
                    results = list(best_of(rounds, subjects, path, None))
            size = path.stat().st_size / 1e6
            for subject, result in zip(subjects, results, strict=True):
                ratio = results[0].cpu_seconds / result.cpu_seconds
                is_ours = subject.startswith("ours")
                good = ratio >= BARS[data] and result.rss_mb < MAX_RSS_MB
                missed = missed or (is_ours and not good)
                bar = f"{'≥' if good else 'missed:'} {BARS[data]:.2f}" if is_ours else ""
                table.add_row(
                    data, subject, f"{size / result.cpu_seconds:,.0f}", f"{ratio:.2f}", bar, f"{result.rss_mb:.0f} MB"
                )
    Console().print(table)
    return int(missed)


def _over_s3(rounds: int, subjects: Sequence[str], path: Path, folder: Path) -> Iterator[Measurement]:
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
