"""Files made from real layouts by cutting, flipping and mixing, and what must be true for each of them."""

import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from finetuning.datasets import join, offline, shard
from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.encoding import BOM
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.shapes import SHAPES
from tests.shared import SHARED

NAMES = ("data.jsonl", "data.json", "data.csv", "data.txt", "data.jsonl.gz", "data.csv.gz", "data.parquet", "data")
SAMPLE_BYTES = 20_000
ODD = (
    *(b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"None", b"{}", b"[]", b",", b'"', b"'", b"\\", b"\r", b"\n"),
    *(b"\0", b"\\u0000", b'"\\ud800"', b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"<|im_start|>"),
    *(b"[" * 3000, b',"x":' + b"[" * 900 + b"]" * 900),
)

Mutation = Callable[[bytes, random.Random], bytes]


CODES = frozenset(map(str, ErrorCode))


class Mishandled(Exception):
    """A crash, an error without a code, or lines that do not add up."""


def try_file(seed: int, folder: Path) -> int:
    """Makes one file and prepares it in one shard and in several. Returns the number of lines. Raises `Mishandled`."""
    chance = random.Random(seed)
    path = folder / chance.choice(NAMES)
    data = any_broken_file(chance, path.name)
    path.write_bytes(data)
    task = chance.choice(("auto", "auto", "chat", "instruction", "domain_adaptation"))
    shards = chance.choice((1, 2, 8))
    try:
        options = DataOptions(task=task, max_error_fraction=1)
        whole = prepare_files([path], folder / "whole", options=options)
        # Small buffers make several batches, of which the plain ones are prepared at once. With few digests at a time
        # duplicates are found when the shards are joined.
        known = chance.choice((3, 50, shard.DIGESTS_AT_ONCE))
        with (
            patch.object(offline, "BUFFER", chance.choice((256, 1024, offline.BUFFER))),
            patch.object(shard, "DIGESTS_AT_ONCE", known),
            patch.object(join, "DIGESTS_AT_ONCE", known),
        ):
            cut = prepare_files([path], folder / "cut", options=options, shard_bytes=max(1, -(-len(data) // shards)))
    except Exception as error:
        raise Mishandled(f"{path.name} as {task}: {type(error).__name__}: {error}") from error
    judge(whole, data)
    if whole.model_dump() != cut.model_dump() or _written(folder / "whole") != _written(folder / "cut"):
        raise Mishandled(f"{path.name} as {task}: {shards} shards give something else than one")
    return whole.rows.lines


def judge(report: DatasetReport, data: bytes) -> None:
    """Raises `Mishandled` if the counts do not add up, or an error has no code, message or fix."""
    rows = report.rows
    if (
        rows.kept + rows.duplicates + rows.dropped + rows.errors + rows.blank != rows.lines
        or rows.train + rows.validation + rows.test != rows.kept
    ):
        raise Mishandled(f"the lines do not add up: {rows!r}")
    if report.refusal is None and not rows.train:
        raise Mishandled("there is nothing to train on, and it was not refused")
    if report.refusal and not report.errors and rows.lines > rows.blank:
        raise Mishandled(f"a refusal that is not listed: {report.refusal!r}")
    for error in report.errors:
        if error.code not in CODES or not (error.message and error.fix):
            raise Mishandled(f"an error without a reason: {error!r}")
    (file,) = report.files
    if report.task and file.format in ("txt", "jsonl") and not file.compressed:
        lines = len(io.BytesIO(data.removeprefix(BOM)).readlines())
        if rows.lines != lines:
            raise Mishandled(f"{rows.lines} of {lines} lines were seen")


def any_broken_file(chance: random.Random, name: str) -> bytes:
    if chance.random() < 0.1:
        data = chance.randbytes(chance.randrange(2000))
    else:
        data = chance.choice(_SEEDS)
        for _ in range(chance.choice((0, 1, 1, 3, 10))):
            data = chance.choice(_MUTATIONS)(data, chance)
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
        if chance.random() < 0.3:
            data = chance.choice((_cut, _flip))(data, chance)
    return data


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(ODD) + data[at:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randrange(40) :]


def _repeat_lines(data: bytes, chance: random.Random) -> bytes:
    found = data.splitlines(keepends=True)
    return b"".join(chance.choices(found, k=len(found))) if found else data


def _mix(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice(_SEEDS)


def _swap_value(data: bytes, chance: random.Random) -> bytes:
    """Replaces a value of a row by one of another type."""
    found = data.split(b"\n")
    at = chance.randrange(len(found))
    try:
        row = json.loads(found[at])
        places = list(_places(row))
    except (ValueError, RecursionError):
        return data
    holder, key = chance.choice(places or [(None, None)])
    if holder is not None:
        holder[key] = chance.choice(("", " ", None, 7, -1.5, True, [], {}, ["x"], {"a": "b"}, "text", "user", "tool"))
    found[at] = json.dumps(row, ensure_ascii=chance.random() < 0.5).encode(errors="replace")
    return b"\n".join(found)


def _places(value: Any) -> Any:
    """Every place in a row that can have another value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield value, key
        yield from _places(each)


_MUTATIONS: tuple[Mutation, ...] = (
    *(_cut, _remove, _repeat_lines, _mix),
    *(_flip, _insert, _swap_value) * 2,
)


def _seeds() -> tuple[bytes, ...]:
    """Rows of every shape as JSONL, as an array and as a table; and the reference files, if they are available."""
    rows = [case.row for shape in SHAPES for case in shape.cases]
    files = [b"".join(json.dumps(row).encode() + b"\n" for row in rows), json.dumps(rows, indent=1).encode()]
    files += [b"".join(json.dumps(case.row).encode() + b"\n" for case in shape.cases) for shape in SHAPES]
    files.append(b'question,answer\n"Who, then?",Me\n"What\nelse","He said ""no"""\n')
    files.append(b"Once upon a time\n\nthere was a king\n")
    samples = SHARED / "data" / "samples"
    if samples.is_dir():
        files += [path.read_bytes()[:SAMPLE_BYTES] for path in sorted(samples.iterdir()) if path.suffix != ".md"]
    return tuple(files)


_SEEDS = _seeds()


def _written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
