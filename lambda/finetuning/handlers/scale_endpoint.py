"""ScaleEndpoint: lets the live endpoint's number of instances follow its traffic."""

from finetuning.aws.autoscaling import scale
from finetuning.aws.run_store import run_store
from finetuning.handlers.step import Payload, step
from finetuning.operations.status_board import read_status, record
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "ScaleEndpoint"


@step
def handler(event: Payload) -> Payload:
    """`{run_id}` → what it shows. Of a run whose plan asks for autoscaling; its endpoint is in service."""
    run_id, store = event["run_id"], run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    wish = plan.endpoint.autoscaling
    if wish is not None:
        scale(plan.names(settings().prefix).endpoint, wish)
        limits = f"{wish.min_instances} to {wish.max_instances} instances"
        record(store, run_id, STATE, f"{limits}, aiming at {wish.invocations_per_instance} calls a minute each")
    return read_status(store, run_id).shown
