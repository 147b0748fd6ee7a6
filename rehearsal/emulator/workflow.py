"""Patches the emulator's Step Functions: the steps of a map are in the history, one failed iteration of a map ends the
others, an aborted execution stays aborted and retries nothing, a task that waits for its token fails if its function
fails or its timeout expires, a result may have 256 KiB, and `States.ALL` does not match every error.
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

_failures: contextvars.ContextVar[tuple[list[Exception], ...]] = contextvars.ContextVar("failures", default=())
"""The iterations that failed, of each map that a state is in."""
_token: contextvars.ContextVar[str | None] = contextvars.ContextVar("token", default=None)


def install() -> None:
    execute, fail = stepfunctions._execute_task, stepfunctions._fail_execution
    add_event = stepfunctions._add_event
    matches = stepfunctions._error_matches
    run_map_items, run_sub_machine = stepfunctions._run_map_items, stepfunctions._run_sub_machine
    call, invoke_with_callback = stepfunctions._call_lambda, stepfunctions._invoke_with_callback

    def execute_in_history(
        state: dict[str, Any], given: Any, execution: dict[str, Any], context: dict[str, Any]
    ) -> Any:
        state = _with_time_limit(state, given, context)
        if "Map" not in context:
            return execute(state, given, execution, context)
        name = context["State"]["Name"]
        _entered("Task", given, context)
        output, following = execute(state, given, execution, context)
        exited = {"name": name, "output": json.dumps(output)}
        stepfunctions._add_event(execution, "TaskStateExited", {"stateExitedEventDetails": exited})
        return output, following

    def run_until_one_fails(state: dict[str, Any], given: Any, execution: dict[str, Any], context: Any) -> Any:
        """Unpatched, the other iterations of a map whose one iteration failed go on to their end."""
        outer, failures = _failures.get(), list[Exception]()
        remembered = _failures.set((*outer, failures))
        try:
            if "Map" in context:
                _entered("Map", given, context)
            return run_map_items(state, given, execution, context)
        except stepfunctions._ExecutionError:
            if failures:  # the first one, not the one whose item comes first
                raise failures[0] from None
            raise
        finally:
            _failures.reset(remembered)

    def run_iteration(states: dict[str, Any], start: str, given: Any, execution: Any, context: Any) -> Any:
        try:
            return run_sub_machine(states, start, given, execution, context)
        except stepfunctions._ExecutionError as error:
            if _failures.get():
                _failures.get()[-1].append(error)
            raise

    def in_history(kind: str, step: Any) -> Any:
        def execute_step(state: dict[str, Any], given: Any, context: dict[str, Any]) -> Any:
            if "Map" in context:
                _entered(kind, given, context)
            return step(state, given, context)

        return execute_step

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

    stepfunctions._run_map_items, stepfunctions._run_sub_machine = run_until_one_fails, run_iteration
    for kind in ("Pass", "Choice", "Wait"):
        name = f"_execute_{kind.lower()}"
        setattr(stepfunctions, name, in_history(kind, getattr(stepfunctions, name)))
    stepfunctions._error_matches = error_matches
    stepfunctions._add_event = add_event_while_running
    stepfunctions._execute_task, stepfunctions._fail_execution = execute_in_history, fail_unless_aborted
    stepfunctions._invoke_with_callback, stepfunctions._call_lambda = invoke_and_remember, call_and_answer_for_it


def _entered(kind: str, given: Any, context: dict[str, Any]) -> None:
    """Notes a state inside a map in the history, as the emulator does with the others; ends an iteration beside one
    that failed.
    """
    if any(_failures.get()):
        raise stepfunctions._ExecutionError("Aborted", "Another iteration of the map failed.")
    execution = stepfunctions._executions[context["Execution"]["Id"]]
    entered = {"name": context["State"]["Name"], "input": json.dumps(given)}
    stepfunctions._add_event(execution, f"{kind}StateEntered", {"stateEnteredEventDetails": entered})


def _with_time_limit(state: dict[str, Any], given: Any, context: dict[str, Any]) -> dict[str, Any]:
    """The state with its limit as a number: as shipped, an expression is taken for one."""
    if not isinstance(state.get("TimeoutSeconds"), str):
        return state
    seconds = stepfunctions._jsonata_state_field(state, "TimeoutSeconds", "number", given, context)
    return {**state, "TimeoutSeconds": seconds}
