"""PrepareShard: converts and checks the rows of one shard, or of several small files. Several calls run at a time."""

from finetuning.datasets.preparation import Preparation
from finetuning.datasets.shard import write_shard
from finetuning.handlers.step import Payload, step
from finetuning.operations.dataset_files import open_shard
from finetuning.operations.run import Run
from finetuning.runs.layout import SHARDS


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, shard}`, the first shard of the call, → `{}`. Bad rows are counted, not raised: FinishDataset
    decides about all.
    """
    preparation = run.store.load(run.layout.preparation, Preparation)
    for shard in preparation.shards_of_call(int(event["shard"])):
        with open_shard(preparation, shard) as source:
            write_shard(preparation, shard, source, run.files, SHARDS)
    return {}
