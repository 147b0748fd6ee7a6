"""DeleteTemporaryEndpoints: deletes the endpoints of the base model and the candidate after the comparison."""

from finetuning.aws.sagemaker import sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.operations.clean_up import remove_temporary_endpoints
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. It is no error if there is nothing to delete."""
    for line in remove_temporary_endpoints(sagemaker(), run.names):
        run.record(line)
    return run.status.shown
