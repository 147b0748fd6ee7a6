"""PlanShards: settles what the data files are trained for, and cuts them into shards."""

from finetuning.datasets.dataset_report import refusal_report
from finetuning.datasets.preparation import Preparation, prepare
from finetuning.datasets.resolution import resolve
from finetuning.errors import DatasetRefused
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.catalogue import support
from finetuning.operations.dataset_files import source_files
from finetuning.operations.run import Run
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → `{shards: [0, 1, …]}`. Raises `DatasetRefused`, with dataset.json written, if the files cannot be
    trained on.
    """
    preparation = _preparation(run)
    resolution = preparation.resolution
    if resolution.refusal:
        run.store.save(run.layout.dataset_report, refusal_report(preparation))
        raise DatasetRefused(resolution.message, resolution.fix)
    run.store.save(run.layout.preparation, preparation)
    status = run.record(f"Preparing the data for {preparation.task}: {resolution.why}")
    return {"shards": [shard.number for shard in preparation.shards], **status.shown}


def _preparation(run: Run) -> Preparation:
    """Files that the plan does not resolve, because Parquet is among them, are resolved here."""
    plan, files = run.plan, source_files(run)
    resolution = plan.resolution or resolve(
        [(file.name, file.detection) for file in files], plan.data_options, supported=support(plan.model_id).tasks
    )
    return prepare(
        files,
        resolution,
        plan.data_options,
        family=plan.family.name,
        shard_bytes=settings().shard_bytes,
        max_input_length=_input_length(plan),
    )


def _input_length(plan: RunPlan) -> int | None:
    """Tokens of a row that training reads. A value of zero or less leaves it to the script: then the model's."""
    asked = plan.hyperparameters.get("max_input_length", "")
    return int(asked) if asked.isdigit() and int(asked) else support(plan.model_id).input_length
