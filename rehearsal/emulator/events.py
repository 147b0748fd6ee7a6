"""What reaches EventBridge: S3's events as AWS sends them, with faults, SageMaker's, which the emulator lacks, and
those of a workflow's own tasks.
"""

import contextvars
import json
from typing import Any

from ministack.services import eventbridge, s3, stepfunctions

from rehearsal.emulator.faults import Fault, Faults

PUT_EVENTS = "arn:aws:states:::events:putEvents"

_version_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("version_id", default=None)
execution_of_task: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("execution_of_task")
"""The execution whose task is being executed."""


def install(faults: Faults) -> None:
    """Adds the object's version to S3's events (AWS sends it, the emulator does not), gives them request ids of AWS's
    form, lets events fail, and has input transformers put text into JSON as it is: whether AWS escapes it is not
    documented. The requester is the account, as AWS documents it: no event names a user or a role.
    """
    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_with_version(*args: Any, **kwargs: Any) -> None:
        token = _version_id.set(kwargs.get("version_id"))
        try:
            fire(*args, **kwargs)
        finally:
            _version_id.reset(token)

    def dispatch_once_or_not(event: dict[str, Any], *rest: Any) -> None:
        for _ in range(_deliveries(event, faults)):
            dispatch(event, *rest)

    s3._fire_s3_event, eventbridge._dispatch_event = fire_with_version, dispatch_once_or_not
    render = eventbridge._render_placeholder

    def render_unescaped(name: str, token: str, values: dict[str, Any], in_string: bool) -> str:
        text = render(name, token, values, in_string)
        return f'"{values[name]}"' if isinstance(values.get(name), str) and not in_string else text

    eventbridge._render_placeholder = render_unescaped
    execute, put = stepfunctions._execute_task, stepfunctions._SERVICE_DISPATCH[PUT_EVENTS]

    def execute_known(state: dict[str, Any], given: Any, execution: dict[str, Any], *rest: Any) -> Any:
        token = execution_of_task.set(execution)
        try:
            return execute(state, given, execution, *rest)
        finally:
            execution_of_task.reset(token)

    def put_as_workflow(resource: str, arguments: dict[str, Any]) -> Any:
        return _put_as_workflow(put, resource, arguments, faults)

    stepfunctions._execute_task, stepfunctions._SERVICE_DISPATCH[PUT_EVENTS] = execute_known, put_as_workflow


def _put_as_workflow(put: Any, resource: str, arguments: dict[str, Any], faults: Faults) -> Any:
    """The workflow's PutEvents: a detail may be an object, each event names the execution and its state machine, and an
    entry that EventBridge does not take fails the task (developer guide, "Add EventBridge events with Step Functions").
    """
    execution = execution_of_task.get()
    arns = [execution["executionArn"], execution["stateMachineArn"]]
    entries = [
        {**entry, "Detail": json.dumps(entry["Detail"]), "Resources": [*entry.get("Resources", []), *arns]}
        for entry in arguments["Entries"]
    ]
    if any(faults.take(Fault.EVENT_NOT_TAKEN, entry["Detail"]) for entry in entries):
        answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
    else:
        answer = put(resource, {**arguments, "Entries": entries})
    if answer["FailedEntryCount"]:
        raise stepfunctions._ExecutionError("EventBridge.FailedEntry", json.dumps(answer))
    return answer


def _deliveries(event: dict[str, Any], faults: Faults) -> int:
    if event.get("Source") != "aws.s3":
        return 1
    detail = json.loads(event["Detail"])
    if version := _version_id.get():
        detail["object"]["version-id"] = version
    detail["request-id"] = detail["request-id"].replace("-", "")[:16].upper()
    event["Detail"] = json.dumps(detail)
    key = detail["object"]["key"]
    if faults.take(Fault.EVENT_LOST, key):
        return 0
    return 2 if faults.take(Fault.EVENT_DUPLICATED, key) else 1


def training_job_changed(description: dict[str, Any]) -> None:
    """Publishes SageMaker's "Training Job State Change"."""
    members = ("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "SecondaryStatus", "FailureReason")
    _publish("SageMaker Training Job State Change", description["TrainingJobArn"], description, members)


def endpoint_changed(description: dict[str, Any]) -> None:
    """Publishes SageMaker's "Endpoint State Change"."""
    members = ("EndpointName", "EndpointArn", "EndpointConfigName", "EndpointStatus", "FailureReason")
    _publish("SageMaker Endpoint State Change", description["EndpointArn"], description, members)


def _publish(kind: str, arn: str, description: dict[str, Any], members: tuple[str, ...]) -> None:
    entry = {
        "Source": "aws.sagemaker",
        "DetailType": kind,
        "Detail": json.dumps({member: description[member] for member in members if member in description}),
        "Resources": [arn],
    }
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)
