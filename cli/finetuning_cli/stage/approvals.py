"""Approve or reject a run that waits for approval."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.runs.status import Approval, RunStatus
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.runs import caller

APPROVAL_STEP = "ApproveDeployment"
MAX_CAUSE = 32_000
"""Step Functions takes 32,768 characters of a cause."""


def approve_run(run: Run) -> str:
    """Lets the run deploy its model; returns the ARN of the caller.

    Raises `FineTuningError` (NOT_WAITING_FOR_APPROVAL).
    """
    token, who = _task_token(run), caller()
    with _answering(run.run_id):
        client("stepfunctions").send_task_success(taskToken=token, output=json.dumps({"approved_by": who}))
    return who


def reject_run(deployment: Deployment, run: Run, reason: str) -> str:
    """Ends the run without deploying; otherwise as `approve_run`."""
    token, who = _task_token(run), caller()
    rejection = FineTuningError(
        Code.APPROVAL_REJECTED,
        f"{who} rejected the deployment{f': {reason}' if reason else '.'}",
        f"The tuned model is kept: {run.tuned_model}. "
        f"To ask for approval again, without training: {commands.deploy(run.run_id, deployment.stage)}",
    )
    with _answering(run.run_id):
        client("stepfunctions").send_task_failure(
            taskToken=token, error=Code.APPROVAL_REJECTED, cause=str(rejection)[:MAX_CAUSE]
        )
    return who


def _task_token(run: Run) -> str:
    """The task token of the run. Raises `FineTuningError` if it does not wait for approval."""
    approval, status = run.store.find(run.layout.approval, Approval), run.find_status()
    if approval is None or status is None or status.step != APPROVAL_STEP or status.state.is_final:
        raise _not_waiting(f"The run {run.run_id} {_progress(status)}; it does not wait for approval.")
    return approval.task_token


def _progress(status: RunStatus | None) -> str:
    if status is None:
        return "has not started"
    return f"has ended ({status.state})" if status.state.is_final else f"is running {status.step}"


def _not_waiting(message: str) -> FineTuningError:
    return FineTuningError(
        Code.NOT_WAITING_FOR_APPROVAL,
        message,
        "Check its progress with `finetune watch`. A run waits for approval after training if its run.json has "
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
