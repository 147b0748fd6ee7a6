"""Approve or reject a run that waits for approval."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from cli.stage.deployment import Deployment
from cli.stage.runs import caller
from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.errors import Code, FineTuningError
from finetuning.report import commands
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import Approval

APPROVAL_STEP = "ApproveDeployment"
MAX_CAUSE = 32_000
"""Step Functions takes 32,768 characters of a cause."""


def approve_run(deployment: Deployment, run_id: str) -> str:
    """Lets the run deploy its model; returns the ARN of the caller.

    Raises `FineTuningError` (NOT_WAITING_FOR_APPROVAL).
    """
    token, who = _task_token(deployment, run_id), caller()
    with _answering(run_id):
        client("stepfunctions").send_task_success(taskToken=token, output=json.dumps({"approved_by": who}))
    return who


def reject_run(deployment: Deployment, run_id: str, reason: str) -> str:
    """Ends the run without deploying; otherwise as `approve_run`."""
    token, who = _task_token(deployment, run_id), caller()
    rejection = FineTuningError(
        Code.APPROVAL_REJECTED,
        f"{who} rejected the deployment{f': {reason}' if reason else '.'}",
        f"The tuned model is kept: {_tuned_model(deployment, run_id)}. "
        f"To ask for approval again, without training: {commands.deploy(run_id, deployment.stage)}",
    )
    with _answering(run_id):
        client("stepfunctions").send_task_failure(
            taskToken=token, error=Code.APPROVAL_REJECTED, cause=str(rejection)[:MAX_CAUSE]
        )
    return who


def _task_token(deployment: Deployment, run_id: str) -> str:
    """The task token of the run. Raises `FineTuningError` if it does not wait for approval."""
    body, status = deployment.store.read(RunLayout(run_id).approval), deployment.status(run_id)
    if body is None or status is None or status.step != APPROVAL_STEP or status.state.is_final:
        at = f"is {status.state} at {status.step}" if status else "has not started"
        raise _not_waiting(f"The run {run_id} {at}; it does not wait for approval.")
    return Approval.model_validate_json(body).task_token


def _tuned_model(deployment: Deployment, run_id: str) -> str:
    status = deployment.status(run_id)
    artifact = RunLayout(run_id).model_artifact(status.training_job) if status else RunLayout(run_id).root
    return f"s3://{deployment.artifacts_bucket}/{artifact}"


def _not_waiting(message: str) -> FineTuningError:
    return FineTuningError(
        Code.NOT_WAITING_FOR_APPROVAL,
        message,
        "See its progress with `finetune watch`. A run waits for approval after training if its run.json has "
        '"approval": true.',
    )


@contextmanager
def _answering(run_id: str) -> Iterator[None]:
    """Raises NOT_WAITING_FOR_APPROVAL for an answer that comes too late."""
    with translate_errors(f"answer the run {run_id}"):
        try:
            yield
        except ClientError as error:
            if error_code(error) not in ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"):
                raise
            raise _not_waiting(
                f"The run {run_id} no longer waits for approval: it was already answered, or it ended."
            ) from error
