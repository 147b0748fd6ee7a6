"""A run's data in S3: what the steps from ReframeParquet to FinishDataset share."""

from typing import BinaryIO

from finetuning.aws.clients import client
from finetuning.aws.s3_streams import s3_reader
from finetuning.datasets.preparation import Preparation, Shard, SourceFile
from finetuning.errors import DatasetRefused
from finetuning.operations.run import Run
from finetuning.runs.layout import SHARDS
from finetuning.runs.plan import DataFile, RunPlan


def reframed_key(number: int) -> str:
    """Where the JSON Lines of the run's data file `number` are written, if it is a Parquet file."""
    return f"{SHARDS}reframed/{number:05d}.jsonl"


def source_files(run: Run) -> list[SourceFile]:
    """The run's data files as they are prepared: a Parquet file as the JSON Lines that ReframeParquet wrote.

    Raises `DatasetRefused` for a plan of an earlier version, which did not keep what the files are.
    """
    return [_source_file(run, file, number) for number, file in enumerate(run.plan.data_files)]


def _source_file(run: Run, file: DataFile, number: int) -> SourceFile:
    detection = file.detection
    if detection is None:
        message = f"The run was planned by an earlier version, which did not record the format of {file.name}."
        raise DatasetRefused(message, "Upload the data again.")
    if file.is_parquet and not detection.refusal:
        key = reframed_key(number)
        bucket, size = run.store.bucket, run.files.size(key)
        return SourceFile(name=file.name, bucket=bucket, key=run.layout.root + key, size=size, detection=detection)
    return SourceFile(
        name=file.name,
        bucket=run.plan.upload.bucket,
        key=file.key,
        size=file.size,
        version_id=file.version_id,
        etag=file.etag,
        detection=detection,
    )


def open_data_file(plan: RunPlan, file: DataFile) -> BinaryIO:
    """A file of the upload, in the version that was planned."""
    return s3_reader(client("s3"), plan.upload.bucket, file.key, version_id=file.version_id, etag=file.etag)


def open_shard(preparation: Preparation, shard: Shard) -> BinaryIO:
    """The shard's file from the byte before the shard, in the version that was planned."""
    file = preparation.files[shard.file]
    start = max(shard.start - 1, 0)
    return s3_reader(client("s3"), file.bucket, file.key, start, version_id=file.version_id, etag=file.etag)
