"""Runs whose tuned model is imported into Bedrock."""

from typing import Any

from finetuning.aws.run_store import RunStore
from finetuning.operations.run import Run
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.layout import alias_key
from tests.builders.memory import any_run
from tests.builders.runs import RUN_ID, START, any_plan

TUNED = f"s3://artifacts/runs/{RUN_ID}/training/job/output/model/"


def imported_run(store: RunStore, run_id: str = RUN_ID, **endpoint: Any) -> Run:
    """A trained run whose model is, or will be, imported. `endpoint`: changes to its plan."""
    planned = any_plan().endpoint.model_dump() | {"target": "bedrock", "idle_minutes": "never", **endpoint}
    run = any_run(store, run_id, endpoint=planned)
    run.record("", training_job="job", model_artifact=f"s3://artifacts/runs/{run_id}/training/job/output/model/")
    return run


def serve(store: RunStore, name: str, arn: str, run_id: str = RUN_ID, earlier: tuple[ImportedModel, ...] = ()) -> Alias:
    """Lets the name stand for that model."""
    serving = ImportedModel(arn=arn, name=f"finetune-dev-{run_id}", run_id=run_id, since=START)
    alias = Alias(name=name, owners=["pirate"], serving=serving, earlier=list(earlier))
    store.save(alias_key(name), alias)
    return alias
