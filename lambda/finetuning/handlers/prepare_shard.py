"""PrepareShard: converts and checks the rows of one shard. Runs once for every shard, several at a time."""

from finetuning.aws.run_store import run_store
from finetuning.datasets.join import write_shard
from finetuning.datasets.preparation import Preparation
from finetuning.handlers.step import Payload, step
from finetuning.operations.dataset_files import open_shard, workspace
from finetuning.runs.layout import SHARDS, RunLayout


@step
def handler(event: Payload) -> Payload:
    """`{run_id, shard}` → `{}`. Bad rows are counted, not raised: whether there are too many only the whole tells."""
    run_id = event["run_id"]
    preparation = run_store().load(RunLayout(run_id).preparation, Preparation)
    shard = preparation.shards[int(event["shard"])]
    with open_shard(preparation, shard) as source:
        write_shard(preparation, shard, source, workspace(run_id), SHARDS)
    return {}
