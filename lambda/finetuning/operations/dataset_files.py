"""A run's data in S3: what the steps from PlanShards to FinishDataset share."""

from typing import BinaryIO

from finetuning.aws.clients import client
from finetuning.aws.s3_streams import s3_reader
from finetuning.datasets.preparation import Preparation, Shard
from finetuning.runs.layout import SHARDS


def is_parquet(key: str) -> bool:
    return key.lower().removesuffix(".gz").endswith(".parquet")


def reframed(number: int) -> str:
    """Where the JSON Lines of the run's data file `number` lie, a Parquet file."""
    return f"{SHARDS}reframed/{number:05d}.jsonl"


def open_shard(preparation: Preparation, shard: Shard) -> BinaryIO:
    """The shard's file, from the byte before the shard, in the version that was planned."""
    file = preparation.files[shard.file]
    start = max(shard.start - 1, 0)
    return s3_reader(client("s3"), file.bucket, file.key, start, version_id=file.version_id, etag=file.etag)
