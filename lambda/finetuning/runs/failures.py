"""The error of a failed state, read from what Step Functions passes to its Catch.

A function that is killed cannot say why. Lambda reports its end as `Runtime.ExitError` with "signal: killed" (it
exceeded its memory) or an exit status, and as `Sandbox.Timedout`; older runtimes report both as `Lambda.Unknown` (Step
Functions' guide on error names). `Runtime.OutOfMemory` appears in Lambda's own log events; that it reaches Step
Functions is assumed. `MemoryError` and pyarrow's `ArrowMemoryError` are exceptions of the function itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetuning.errors import Code, FineTuningError

_MEMORY = ("Runtime.OutOfMemory", "MemoryError", "ArrowMemoryError")
_ENDED = ("Runtime.ExitError", "Lambda.Unknown")
_LATE = ("States.Timeout", "Sandbox.Timedout")
_AGAIN = "`finetune submit --again RUN`"
_REPORT = (
    f"Start the run again with {_AGAIN}. If it ends in the same way, report it with the last lines of the function's "
    "log: search it for the run id."
)


@dataclass(frozen=True)
class DataRead:
    """What of the data a step was reading: the names of the files, and whether they are cut into shards."""

    files: Sequence[str] = ()
    is_cut: bool = False

    @property
    def in_words(self) -> str:
        """ "chat.jsonl", "a.jsonl, b.jsonl and 3 more files", or "" if nothing is known."""
        more = len(self.files) - 2
        named = ", ".join(self.files[:2]) if more > 0 else " and ".join(self.files)
        return named + (f" and {more} more file{'s' if more > 1 else ''}" if more > 0 else "")


def read_failure(state: str, error: Mapping[str, str], deploy: str, data: DataRead | None = None) -> dict[str, Any]:
    """`{code, message, fix, …}` of a Catch's `{Error, Cause}`; `deploy` is the command that deploys the run's model,
    and `data` what the step was reading.

    The `Cause` of a failed function is JSON, whose `errorMessage` is the exception's text, which for a
    `FineTuningError` is JSON again. An error of which nothing is known becomes INTERNAL_ERROR, with the original text.
    """
    name, message = error.get("Error", ""), _message(error)
    failure, state = _as_object(message), failed_step(state, error)
    if {"code", "message", "fix"} <= failure.keys():
        return failure
    return _explained(state, name, message, deploy, data or DataRead()).as_dict()


def failed_step(state: str, error: Mapping[str, str]) -> str:
    """The step that failed. `state` is the state machine's, which may be the Map that the step was in."""
    return str(_as_object(error.get("Cause", "")).get("step", state))


def shard_of(error: Mapping[str, str]) -> int | None:
    """The number of the shard whose function was killed; None for any other error."""
    shard = _as_object(error.get("Cause", "")).get("shard")
    return shard if isinstance(shard, int) else None


def _explained(state: str, name: str, message: str, deploy: str, data: DataRead) -> FineTuningError:
    reading = f" while it read {data.in_words}" if data.in_words else ""
    if name == "States.Timeout" and state == "ApproveDeployment":
        return FineTuningError(
            Code.APPROVAL_TIMED_OUT,
            "The deployment was not approved or rejected in time; nothing was deployed.",
            f"The tuned model is kept. To ask for approval again, without training: {deploy}",
        )
    if name in _MEMORY or (name in _ENDED and "signal: killed" in message):
        return FineTuningError(
            Code.STEP_OUT_OF_MEMORY,
            f"The function of the step {state} exceeded its memory{reading} and was killed: {message or name}",
            _less_at_once(state, data),
        )
    if name in _LATE or "timed out" in message:
        return FineTuningError(
            Code.RUN_TIMED_OUT,
            f"The step {state} timed out{reading}: {message or name}",
            _less_at_once(state, data),
        )
    if name in _ENDED:
        return FineTuningError(
            Code.STEP_CRASHED,
            f"The function of the step {state} ended without an answer{reading}: {message or name}",
            _REPORT,
        )
    return FineTuningError(
        Code.INTERNAL_ERROR,
        f"The step {state} failed unexpectedly: {name}: {message or 'no reason given'}",
        "This is a defect. The function's log has the traceback: search it for the run id.",
    )


def _less_at_once(state: str, data: DataRead) -> str:
    """What to do if a step needed more memory or time than its function has."""
    files = data.in_words or "the data files"
    match state:
        case "PrepareShard" if data.is_cut:
            return f"Deploy the stage with a smaller -c shard_bytes, then start the run again with {_AGAIN}."
        case "PrepareShard":
            return (
                f"{files} is read in one piece: only uncompressed JSON Lines are cut into shards. Split it into "
                "several files, or convert it to JSON Lines, and upload it again."
            )
        case "ReframeParquet":
            return f"Write {files} as several files with smaller row groups, and upload them again."
        case "PlanRun" | "PlanShards":
            return f"Upload fewer files, or files with shorter first rows ({files}): this step reads where each begins."
        case "FinishDataset":
            return "Upload fewer rows, or several smaller runs: this step compares all rows of a run."
    return _REPORT


def _message(error: Mapping[str, str]) -> str:
    """The text of the error. A document beside a killed shard's number or a failed step's name may have it."""
    text = error.get("Cause", "")
    while "errorMessage" in (report := _as_object(text)):
        text = str(report["errorMessage"])
    return text


def _as_object(text: str) -> dict[str, Any]:
    """Empty for a text that is no JSON object, which is then the message itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
