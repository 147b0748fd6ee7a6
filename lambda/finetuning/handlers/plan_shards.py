"""PlanShards: settles what the data files are trained for, and cuts them into shards."""

from finetuning.datasets.dataset_report import refusal_report
from finetuning.datasets.preparation import Preparation, prepare
from finetuning.datasets.resolution import resolve
from finetuning.errors import DatasetRefused
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.hyperparameters import input_length
from finetuning.operations.dataset_files import source_files
from finetuning.operations.run import Run
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → `{shards: [0, 1, …]}`, the first shard of each call of PrepareShard. Raises `DatasetRefused`, with
    dataset.json written, if the files cannot be trained on.
    """
    preparation = _preparation(run)
    resolution = preparation.resolution
    if resolution.refusal:
        run.store.save(run.layout.dataset_report, refusal_report(preparation))
        raise DatasetRefused(resolution.message, resolution.fix)
    run.store.save(run.layout.preparation, preparation)
    status = run.record(f"Preparing the data for {preparation.task}: {resolution.why}")
    return {"shards": list(preparation.calls), **status.shown}


def _preparation(run: Run) -> Preparation:
    """Files that the plan does not resolve, because Parquet is among them, are resolved here."""
    plan, files = run.plan, source_files(run)
    model = support(plan.model_id)
    resolution = plan.resolution or resolve(
        [(file.name, file.detection) for file in files], plan.data_options, supported=model.tasks
    )
    return prepare(
        files,
        resolution,
        plan.data_options,
        family=plan.family.name,
        shard_bytes=settings().shard_bytes,
        max_input_length=input_length(plan.hyperparameters, model.input_length),
    )
