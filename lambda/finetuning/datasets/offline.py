"""Prepares files on this machine: the same steps, and the same bytes, as the workflow with S3."""

import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from sys import maxsize
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import detect_file
from finetuning.datasets.formats import Format
from finetuning.datasets.join import join_shards
from finetuning.datasets.options import DataOptions, named_columns
from finetuning.datasets.parquet import reframe_file
from finetuning.datasets.preparation import Preparation, Shard, SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.datasets.shard import write_shard
from finetuning.datasets.shard_result import TEST, TRAIN, VALIDATION
from finetuning.datasets.workspace import BUFFER, Folder
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.jumpstart.family import Task

Progress = Callable[[int], None]
"""Called with the number of bytes read since the last call."""


def prepare_files(
    paths: Sequence[Path],
    out: Path | None = None,
    *,
    within: Sequence[str] = (),
    options: DataOptions | None = None,
    supported: Collection[str] = tuple(Task),
    max_input_length: int | None = None,
    family: str = DEFAULT_FAMILY.name,
    shard_bytes: int = maxsize,
    progress: Progress = lambda count: None,
) -> DatasetReport:
    """Checks the files, and writes `train/` and `validation/` into `out` if it is given.

    `within`: where each file is in the upload; its name by default. `supported`: the tasks of the model.
    Intermediate files lie in a temporary folder, inside `out` if there is one, and
    are removed.
    """
    options = options or DataOptions()
    within = within or [path.name for path in paths]
    if out:
        out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".finetune-", dir=out) as scratch:
        work = Folder(Path(scratch))
        named = named_columns(options)
        files = [_source_file(path, work, number, named) for number, path in enumerate(paths)]
        resolution = resolve(
            [(file.name, file.detection) for file in files],
            options,
            paths=within or [path.name for path in paths],
            supported=supported,
        )
        preparation = prepare(
            files,
            resolution,
            options,
            shard_bytes=shard_bytes,
            max_input_length=max_input_length,
            family=family,
        )
        for shard in preparation.shards:
            with _opened(preparation, shard, progress) as source:
                write_shard(preparation, shard, source, work, "shards/")
        report = join_shards(preparation, work, "shards/", "dataset/")
        if out and report.ok:
            for channel in (TRAIN, VALIDATION, TEST):
                _replace(work.root / "dataset" / channel, out / channel)
    return report


def _source_file(path: Path, work: Folder, number: int, named: Collection[str]) -> SourceFile:
    """The file, detected; a Parquet file as the JSON Lines written from it."""
    detection = detect_file(path, named)
    if detection.format is not Format.PARQUET:
        return SourceFile(name=str(path), key=str(path), size=path.stat().st_size, detection=detection)
    key = f"reframed/{number}.jsonl"
    with path.open("rb") as source:
        reframed = reframe_file(source, work, key)
    return SourceFile(name=str(path), key=str(work.root / key), size=reframed.size, detection=reframed.detection)


def _opened(preparation: Preparation, shard: Shard, progress: Progress) -> BinaryIO:
    source = Path(preparation.files[shard.file].key).open("rb", buffering=0)  # noqa: SIM115 - the caller closes it
    source.seek(max(shard.start - 1, 0))
    return io.BufferedReader(_Watched(source, progress), BUFFER)


class _Watched(io.RawIOBase):
    """A file that reports how many bytes are read."""

    def __init__(self, source: io.RawIOBase | io.FileIO, progress: Progress) -> None:
        self._source, self._progress = source, progress

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        read = self._source.readinto(into) or 0
        self._progress(read)
        return read

    def close(self) -> None:
        self._source.close()
        super().close()


def _replace(prepared: Path, target: Path) -> None:
    """Replaces an earlier channel; removes it if the new one has no rows."""
    for old in target.glob("*"):
        old.unlink()
    if prepared.is_dir():
        target.mkdir(exist_ok=True)
        for file in prepared.iterdir():
            file.replace(target / file.name)
    elif target.is_dir():
        target.rmdir()
