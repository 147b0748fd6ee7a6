"""The state machine's definition: the flow of fine_tuning.asl.json, with what all its steps have in common: Retry and
Catch, and what they are given of the execution.

The file is plain Amazon States Language. A step that must retry or catch differently says so there, and keeps it.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

FLOW = Path(__file__).with_name("fine_tuning.asl.json")

State = dict[str, Any]

_THROTTLED: State = {
    "ErrorEquals": [
        "TransientAwsError",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
    ],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 6,
    "MaxDelaySeconds": 60,
    "JitterStrategy": "FULL",
}
"""AWS throttled the function's calls, or Lambda had a fault: retried for some minutes."""

_NO_CONCURRENCY: State = {
    "ErrorEquals": ["Lambda.TooManyRequestsException"],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 60,
    "MaxDelaySeconds": 60,
    "JitterStrategy": "FULL",
}
"""The account runs as many functions as it may, 10 if it is new: other runs need minutes to finish theirs. Half an hour
on average, spread so that those who wait do not come back together."""

_IDLE: State = {
    "ErrorEquals": [
        "Lambda.ResourceNotReadyException",
        "Lambda.ENINotReadyException",
        "Lambda.EC2ThrottledException",
        "Lambda.EC2UnexpectedException",
        "Lambda.ResourceConflictException",
        "Lambda.CodeArtifactUserPendingException",
    ],
    "IntervalSeconds": 5,
    "BackoffRate": 1.5,
    "MaxAttempts": 30,
    "MaxDelaySeconds": 30,
}
"""Lambda takes the network interfaces of a function that nobody has called for weeks. The next call fails, and Lambda
makes new ones, for a minute or more: 13 minutes here. Without jitter, which could make all the pauses short."""

_DIED: State = {
    "ErrorEquals": ["Runtime.ExitError", "Lambda.Unknown"],
    "IntervalSeconds": 5,
    "BackoffRate": 2,
    "MaxAttempts": 3,
    "JitterStrategy": "FULL",
}
"""The function's process died; Step Functions reports some of these deaths as `Lambda.Unknown`. A repeated step finds
what it has made."""

_TIMED_OUT: State = {
    "ErrorEquals": ["Sandbox.Timedout", "States.Timeout"],
    "IntervalSeconds": 5,
    "MaxAttempts": 1,
    "JitterStrategy": "FULL",
}
"""The function or the step took too long: retried once."""


_NOT_TAKEN: State = {
    "ErrorEquals": ["States.TaskFailed", "States.Timeout"],
    "IntervalSeconds": 2,
    "BackoffRate": 3,
    "MaxAttempts": 3,
    "JitterStrategy": "FULL",
}
"""EventBridge did not take an event. Nobody waits for long: a run ends without its event."""

PUT_EVENTS = "arn:aws:states:::events:putEvents"

_EXECUTION = {
    "execution_arn": "{% $states.context.Execution.Id %}",
    "redrives": "{% $states.context.Execution.RedriveCount %}",
}
"""How a step learns that the execution was redriven (`operations/redrive.py`)."""


def definition() -> dict[str, Any]:
    """The definition that is deployed, tested and rehearsed. Its placeholders are the functions' ARNs: `${PlanRun}`."""
    machine: dict[str, Any] = json.loads(FLOW.read_text(encoding="utf-8"))
    for name, state in machine["States"].items():
        if state["Type"] in ("Task", "Map"):
            state.setdefault("Catch", _report_failure_of(name))
    # The steps inside a Map cannot leave it: their failure is the Map's, which catches it.
    for _, state in all_states(machine):
        if state["Type"] == "Task":
            state.setdefault("Retry", deepcopy(_retry(state)))
            payload = state["Arguments"].get("Payload")
            if isinstance(payload, dict) and "run_id" in payload:
                payload |= _EXECUTION
    return machine


def all_states(machine: State) -> Iterator[tuple[str, State]]:
    """Every state by its name, including those inside Maps."""
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from all_states(state["ItemProcessor"])


def functions_called(machine: dict[str, Any]) -> list[str]:
    """The names of the functions that a definition calls: its placeholders."""
    return sorted(set(re.findall(r"\$\{(\w+)\}", json.dumps(machine))))


def events_sent(machine: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The sources and the detail types of the events that a definition sends."""
    tasks = [state for _, state in all_states(machine) if state.get("Resource") == PUT_EVENTS]
    entries = [entry for task in tasks for entry in task["Arguments"]["Entries"]]
    return sorted({entry["Source"] for entry in entries}), sorted({entry["DetailType"] for entry in entries})


def _retry(task: State) -> list[State]:
    if task["Resource"] == PUT_EVENTS:
        return [_NOT_TAKEN]
    if not task["Resource"].endswith(".waitForTaskToken"):
        return [_THROTTLED, _NO_CONCURRENCY, _IDLE, _DIED, _TIMED_OUT]
    # Its time limit is how long the team has to answer: a timeout is not retried.
    return [_THROTTLED, _NO_CONCURRENCY, _IDLE, _DIED, {**_TIMED_OUT, "ErrorEquals": ["Sandbox.Timedout"]}]


def _report_failure_of(state: str) -> list[State]:
    """ReportFailure gets the error, and the name of the step that failed."""
    failure = {"failed_state": state, "failure": "{% $states.errorOutput %}"}
    return [{"ErrorEquals": ["States.ALL"], "Assign": failure, "Next": "ReportFailure"}]
