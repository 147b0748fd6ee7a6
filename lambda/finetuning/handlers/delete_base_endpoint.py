"""DeleteBaseEndpoint: the base model was only there to be compared with."""

from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import record
from finetuning.aws.store import run_store
from finetuning.handlers.step import Payload, step
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "DeleteBaseEndpoint"


@step
def handler(event: Payload) -> Payload:
    """`{run_id}` → `{message}`. Nothing there to delete is no error."""
    run_id, store = event["run_id"], run_store()
    base = store.load(RunLayout(run_id).plan, RunPlan).names(settings().prefix).base
    message = f"Deleted the temporary endpoint {base}"
    if sagemaker().delete_endpoint(base):
        record(store, run_id, STATE, message)
    sagemaker().delete_endpoint_config(base)
    sagemaker().delete_model(base)
    return {"message": message}
