"""DeleteTemporaryEndpoint: deletes the endpoint of the candidate or of the base model."""

from finetuning.aws.sagemaker import sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.operations.clean_up import remove_temporary_endpoint
from finetuning.operations.run import Run
from finetuning.runs.failures import read_failure


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "candidate"|"base", failure}` → what it shows. It is no error if there is nothing to delete.

    `failure`: why the base model cannot be asked, as `{Error, Cause}`; None if it was asked.
    """
    if event.get("failure"):
        failure = read_failure("DeployEndpoint", event["failure"], "")
        run.record(f"The base model cannot be compared with: {failure['message']}")
    for line in remove_temporary_endpoint(sagemaker(), run.names, event["variant"]):
        run.record(line)
    return run.status.shown
