"""Mends to the emulator's Step Functions: a map's steps are in the history, and an aborted execution stays aborted."""

import json
from typing import Any

from ministack.services import stepfunctions


def install() -> None:
    execute, fail = stepfunctions._execute_task, stepfunctions._fail_execution

    def execute_in_history(
        state: dict[str, Any], given: Any, execution: dict[str, Any], context: dict[str, Any]
    ) -> Any:
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

    stepfunctions._execute_task, stepfunctions._fail_execution = execute_in_history, fail_unless_aborted
