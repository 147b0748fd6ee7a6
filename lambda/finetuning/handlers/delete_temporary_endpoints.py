"""DeleteTemporaryEndpoints: candidate and base model were only there to be compared."""

from finetuning.aws.sagemaker import sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.operations.clean_up import remove_temporary_endpoints
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. Nothing there to delete is no error."""
    for line in remove_temporary_endpoints(sagemaker(), run.names):
        run.record(line)
    return run.status.shown
