"""Adds RedriveExecution to the emulator's Step Functions.

An execution that failed, was aborted or timed out goes on with the state in which it ended: under the same ARN, with
that state's input and with the variables assigned so far. A Fail state fails again. The context object then has
`RedriveCount` and `RedriveTime`.

Not emulated: that only the iterations of a Map that did not succeed are repeated, client tokens, and the limits of 14
days and 24,999 events. The first state must be a task.
"""

import contextvars
import json
import threading
from dataclasses import dataclass
from typing import Any

from ministack import app as ministack
from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import eventbridge, stepfunctions

Context = dict[str, Any]
Execution = dict[str, Any]
BY_OTHERS = ("ExecutionAborted", "ExecutionRedriven")
"""Events that the execution's own thread does not write."""


@dataclass(frozen=True)
class _Place:
    """Where an execution goes on."""

    state: str
    given: Any
    variables: dict[str, Any]


_contexts: dict[str, Context] = {}
"""The context object of each execution."""
_places: dict[str, _Place] = {}
"""Of the executions that were redriven and have not gone on yet."""
_redrives: contextvars.ContextVar[int] = contextvars.ContextVar("redrives", default=0)
"""How often the execution of this thread had been redriven when the thread began."""
_unwritten: contextvars.ContextVar[list[str]] = contextvars.ContextVar("unwritten")
"""The events of the first state, which is passed over on the way to the place."""


def install() -> None:
    """After `workflow.install`, whose patches it wraps."""
    execute, fail = stepfunctions._execute_task, stepfunctions._fail_execution
    add_event, describe = stepfunctions._add_event, stepfunctions._describe_execution
    handle_others, put = stepfunctions.handle_request, eventbridge._put_events

    def execute_or_go_on(state: dict[str, Any], given: Any, execution: Execution, context: Context) -> Any:
        if "Map" not in context:
            arn = execution["executionArn"]
            _contexts[arn] = context
            context["Execution"]["RedriveCount"] = _count(execution)
            if place := _places.pop(arn, None):
                context["variables"] = place.variables
                context["Execution"]["RedriveTime"] = execution["redriveDate"]
                return place.given, place.state
        return execute(state, given, execution, context)

    def add_event_of_this_life(execution: Execution, kind: str, details: Any = None) -> Any:
        """A thread that was still in a state when its execution was aborted does not go on after a redrive."""
        unwritten = _unwritten.get([])
        if unwritten and unwritten[0] == kind:
            unwritten.pop(0)
            return {}
        if kind not in BY_OTHERS and _redrives.get() != _count(execution):
            raise stepfunctions._ExecutionError("Aborted", "The execution was aborted, and redriven since.")
        return add_event(execution, kind, details)

    def fail_in_this_life(execution: Execution, error: str, cause: str) -> None:
        if _redrives.get() == _count(execution):
            fail(execution, error, cause)

    def describe_with_redrives(data: dict[str, Any]) -> Any:
        status, headers, body = describe(data)
        if status != 200:
            return status, headers, body
        execution = stepfunctions._executions[data["executionArn"]]
        redrivable = "NOT_REDRIVABLE" if execution["status"] in ("RUNNING", "SUCCEEDED") else "REDRIVABLE"
        redrives = {"redriveCount": _count(execution), "redriveStatus": redrivable}
        if date := execution.get("redriveDate"):
            redrives["redriveDate"] = date
        return json_response(json.loads(body) | redrives)

    def put_with_redrives(data: dict[str, Any], **options: Any) -> Any:
        """As shipped, an event says that its execution was never redriven."""
        for entry in data["Entries"]:
            if entry.get("Source") == "aws.states" and (detail := json.loads(entry["Detail"])):
                count = _count(stepfunctions._executions[detail["executionArn"]])
                entry["Detail"] = json.dumps(detail | {"redriveCount": count})
        return put(data, **options)

    async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return stepfunctions._finalize_response(_redrive(json.loads(body)))
        return await handle_others(method, path, headers, body, query)

    stepfunctions._execute_task, stepfunctions._fail_execution = execute_or_go_on, fail_in_this_life
    stepfunctions._add_event, stepfunctions._describe_execution = add_event_of_this_life, describe_with_redrives
    eventbridge._put_events = put_with_redrives
    ministack.SERVICE_HANDLERS["states"] = handle


def _count(execution: Execution) -> int:
    return int(execution.get("redriveCount", 0))


def _redrive(data: dict[str, Any]) -> Any:
    execution = stepfunctions._executions.get(data["executionArn"])
    if not execution:
        return error_response_json("ExecutionDoesNotExist", f"Execution {data['executionArn']} not found", 400)
    if execution["status"] in ("RUNNING", "SUCCEEDED"):
        reason = f"Execution is {execution['status']} and cannot be redriven"
        return error_response_json("ExecutionNotRedrivable", reason, 400)
    arn, definition = execution["executionArn"], _definition(execution)
    if definition["States"][definition["StartAt"]]["Type"] != "Task":
        return error_response_json("ValidationException", "The rehearsal cannot redrive it: no task is first", 400)
    entered = (event["stateEnteredEventDetails"] for event in reversed(execution["events"]) if _enters(event))
    last = next(each for each in entered if each["name"] in definition["States"])
    _places[arn] = _Place(last["name"], json.loads(last["input"]), dict(_contexts[arn]["variables"]))
    execution |= {
        "status": "RUNNING", "redriveCount": _count(execution) + 1, "redriveDate": now_iso(),
        "stopDate": None, "output": None, "error": None, "cause": None,
    }  # fmt: skip
    stepfunctions._add_event(execution, "ExecutionRedriven", {})
    stepfunctions._emit_execution_status_event(execution)
    surroundings = contextvars.copy_context()
    surroundings.run(_redrives.set, _count(execution))
    surroundings.run(_unwritten.set, ["TaskStateEntered", "TaskStateExited"])
    go_on = (stepfunctions._run_execution, arn)
    threading.Thread(target=surroundings.run, args=go_on, daemon=True).start()
    return json_response({"redriveDate": execution["redriveDate"]})


def _definition(execution: Execution) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(stepfunctions._state_machines[execution["stateMachineArn"]]["definition"])
    return definition


def _enters(event: dict[str, Any]) -> bool:
    return "stateEnteredEventDetails" in event
