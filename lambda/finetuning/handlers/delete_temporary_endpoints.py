"""DeleteTemporaryEndpoints: candidate and base model were only there to be compared."""

from finetuning.aws.run_store import run_store
from finetuning.aws.sagemaker import sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.operations.clean_up import remove_temporary_endpoints
from finetuning.operations.status_board import read_status, record
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "DeleteTemporaryEndpoints"


@step
def handler(event: Payload) -> Payload:
    """`{run_id}` → what it shows. Nothing there to delete is no error."""
    run_id, store = event["run_id"], run_store()
    names = store.load(RunLayout(run_id).plan, RunPlan).names(settings().prefix)
    for line in remove_temporary_endpoints(sagemaker(), names):
        record(store, run_id, STATE, line)
    return read_status(store, run_id).shown
