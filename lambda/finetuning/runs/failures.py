"""The error of a failed state, read from what Step Functions passes to its Catch."""

import json
from collections.abc import Mapping
from typing import Any

from finetuning.errors import Code, FineTuningError


def read_failure(state: str, error: Mapping[str, str], deploy: str) -> dict[str, Any]:
    """`{code, message, fix, …}` of a Catch's `{Error, Cause}`; `deploy` is the command that deploys the run's model.

    The `Cause` of a failed function is JSON, whose `errorMessage` is the exception's text, which for a
    `FineTuningError` is JSON again. Any other error becomes INTERNAL_ERROR, with the original text.
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
            "The deployment was not approved or rejected in time; nothing was deployed.",
            f"The tuned model is kept. To ask for approval again, without training: {deploy}",
        ).as_dict()
    if name in ("States.Timeout", "Sandbox.Timedout") or "timed out" in message:
        return FineTuningError(
            Code.RUN_TIMED_OUT,
            f"The step {state} timed out: {message or name}",
            "Start the run again with `finetune submit --again RUN`. For a large file, first deploy the stage with a "
            "smaller `-c shard_bytes`.",
        ).as_dict()
    return FineTuningError(
        Code.INTERNAL_ERROR,
        f"The step {state} failed unexpectedly: {name}: {message or 'no reason given'}",
        "This is a defect. The function's log has the traceback: search it for the run id.",
    ).as_dict()


def _as_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
