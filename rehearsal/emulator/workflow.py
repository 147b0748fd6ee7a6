"""Patches the emulator's Step Functions: the steps of a map are in the history, an aborted execution stays aborted and
retries nothing, a task that waits for its token fails if its function fails or its timeout expires, a result may have
256 KiB, and `States.ALL` does not match every error.
"""

import contextvars
import json
from typing import Any

from ministack.services import stepfunctions

MAX_RESULT = 256 << 10
MAX_CAUSE = 32_768
"""Bytes of a state's result, and characters of a cause: assumed to be cut there, where the API limits its length."""
TERMINAL = ("States.DataLimitExceeded", "States.Runtime")
"""Errors that `States.ALL` and `States.TaskFailed` do not match."""

_token: contextvars.ContextVar[str | None] = contextvars.ContextVar("token", default=None)


def install() -> None:
    execute, fail = stepfunctions._execute_task, stepfunctions._fail_execution
    add_event = stepfunctions._add_event
    matches = stepfunctions._error_matches
    call, invoke_with_callback = stepfunctions._call_lambda, stepfunctions._invoke_with_callback

    def execute_in_history(
        state: dict[str, Any], given: Any, execution: dict[str, Any], context: dict[str, Any]
    ) -> Any:
        state = _with_time_limit(state, given, context)
        if "Map" not in context:
            return execute(state, given, execution, context)
        name = context["State"]["Name"]
        entered = {"name": name, "input": json.dumps(given)}
        stepfunctions._add_event(execution, "TaskStateEntered", {"stateEnteredEventDetails": entered})
        output, following = execute(state, given, execution, context)
        exited = {"name": name, "output": json.dumps(output)}
        stepfunctions._add_event(execution, "TaskStateExited", {"stateExitedEventDetails": exited})
        return output, following

    def fail_unless_aborted(execution: dict[str, Any], error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    def add_event_while_running(execution: dict[str, Any], kind: str, details: Any = None) -> Any:
        """As shipped, a task that waits to be tried again is tried although its execution was aborted meanwhile."""
        if kind == "TaskScheduled" and execution.get("status", "RUNNING") != "RUNNING":
            raise stepfunctions._ExecutionError("Aborted", "The execution is over.")
        return add_event(execution, kind, details)

    def invoke_and_remember(resource: str, given: Any, token: str, state: dict[str, Any]) -> Any:
        remembered = _token.set(token)
        try:
            return invoke_with_callback(resource, given, token, state)
        finally:
            _token.reset(remembered)

    def call_and_answer_for_it(function: str, event: Any) -> Any:
        """Unpatched, a function that fails leaves its task waiting for a token that is lost."""
        try:
            result = call(function, event)
            if len(json.dumps(result).encode()) > MAX_RESULT:
                message = f"The function {function} returned a result with a size exceeding {MAX_RESULT} bytes."
                raise stepfunctions._ExecutionError("States.DataLimitExceeded", message)
            return result
        except stepfunctions._ExecutionError as error:
            error.cause = str(error.cause)[:MAX_CAUSE]
            if waiting := stepfunctions._task_tokens.get(_token.get() or ""):
                waiting["error"] = {"Error": error.error, "Cause": error.cause}
                waiting["event"].set()
            raise

    def error_matches(names: list[str], error: str) -> bool:
        return error in names if error in TERMINAL else matches(names, error)

    stepfunctions._error_matches = error_matches
    stepfunctions._add_event = add_event_while_running
    stepfunctions._execute_task, stepfunctions._fail_execution = execute_in_history, fail_unless_aborted
    stepfunctions._invoke_with_callback, stepfunctions._call_lambda = invoke_and_remember, call_and_answer_for_it


def _with_time_limit(state: dict[str, Any], given: Any, context: dict[str, Any]) -> dict[str, Any]:
    """The state with its limit as a number: as shipped, an expression is taken for one."""
    if not isinstance(state.get("TimeoutSeconds"), str):
        return state
    seconds = stepfunctions._jsonata_state_field(state, "TimeoutSeconds", "number", given, context)
    return {**state, "TimeoutSeconds": seconds}
