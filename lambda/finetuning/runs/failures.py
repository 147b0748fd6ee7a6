"""What went wrong, read back from what Step Functions says of a failed state."""

import json
from collections.abc import Mapping
from typing import Any

from finetuning.errors import Code, FineTuningError


def read_failure(state: str, error: Mapping[str, str], deploy: str) -> dict[str, Any]:
    """`{code, message, fix, …}` of a Catch's `{Error, Cause}`; `deploy` is the command that deploys the run's model.

    A function's failure arrives as JSON in `Cause` with the exception's text in `errorMessage`, which for a
    `FineTuningError` is JSON again. Whatever is not one of ours becomes INTERNAL_ERROR, told as it came.
    """
    name, cause = error.get("Error", ""), error.get("Cause", "")
    report = _as_object(cause)
    message = str(report.get("errorMessage", cause))
    failure = _as_object(message)
    if {"code", "message", "fix"} <= failure.keys():
        return failure
    if name == "States.Timeout" and state == "ApproveDeployment":
        return FineTuningError(
            Code.APPROVAL_TIMED_OUT,
            "Nobody approved or rejected the deployment in time; nothing was deployed.",
            f"The tuned model is kept. Ask anew, without training: {deploy}",
        ).as_dict()
    if name in ("States.Timeout", "Sandbox.Timedout") or "timed out" in message:
        return FineTuningError(
            Code.RUN_TIMED_OUT,
            f"The step {state} took longer than it may: {message or name}",
            "`finetune submit --again RUN` tries once more; for a large file deploy the stage with a smaller "
            "`-c shard_bytes` first.",
        ).as_dict()
    return FineTuningError(
        Code.INTERNAL_ERROR,
        f"The step {state} failed unexpectedly: {name}: {message or 'no reason given'}",
        "This is a defect: the function's log has the traceback, under the run's id.",
    ).as_dict()


def _as_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
