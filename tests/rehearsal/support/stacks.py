"""Small stacks for the canaries: templates as dictionaries, deployed with a plain boto3 client."""

import io
import itertools
import json
import time
import zipfile
from typing import Any

from rehearsal.running import Emulator

WAIT_SCALE = 0.2
"""Factor on the state machine's waits, and on its pauses before a step is tried again."""

_numbers = itertools.count(1)


def any_name(kind: str) -> str:
    """A name that is part of no other."""
    return f"canary-{kind}-{next(_numbers):04}"


def deploy(emulator: Emulator, resources: dict[str, Any]) -> str:
    """Creates a stack of these resources and returns its id; fails with the events' reasons."""
    cloudformation, name = emulator.client("cloudformation"), any_name("stack")
    body = json.dumps({"Resources": resources})
    stack = str(cloudformation.create_stack(StackName=name, TemplateBody=body)["StackId"])
    status = settle(cloudformation, stack)
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    assert status == "CREATE_COMPLETE", [event.get("ResourceStatusReason") for event in events]
    return stack


def settle(cloudformation: Any, name: str, seconds: float = 60) -> str:
    """The status of a stack once nothing is in progress."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        if not status.endswith("IN_PROGRESS"):
            return status
        time.sleep(0.05)
    raise AssertionError(f"{name} is still {status}")


def any_role(emulator: Emulator, service: str, *statements: dict[str, Any]) -> str:
    """A role that the service may assume, with these statements; returns its ARN."""
    iam, name = emulator.client("iam"), any_name("role")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    policy = {"Version": "2012-10-17", "Statement": [trust]}
    arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"])
    if statements:
        allowed = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=allowed)
    return arn


def any_person(emulator: Emulator, policy_arn: str) -> str:
    """ARN of the role of a person with this managed policy."""
    iam, name = emulator.client("iam"), any_name("person")
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{emulator.account}:root"},
        "Action": "sts:AssumeRole",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"])
    iam.attach_role_policy(RoleName=name, PolicyArn=policy_arn)
    return arn


def allow(action: str | list[str], resource: str | list[str] = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def any_function(emulator: Emulator, source: str, *, role: str = "", **settings: Any) -> str:
    """A Python function whose module `index` has this source; returns its name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("index.py", source)
    name = any_name("function")
    emulator.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role or any_role(emulator, "lambda.amazonaws.com"),
        Handler="index.handler",
        Code={"ZipFile": archive.getvalue()},
        **{"Timeout": 30, **settings},
    )
    return name


def invoke(emulator: Emulator, function: str, payload: Any = None) -> Any:
    """The function's answer, or its error report."""
    answer = emulator.client("lambda").invoke(FunctionName=function, Payload=json.dumps(payload or {}))
    return json.loads(answer["Payload"].read())


def any_state_machine(emulator: Emulator, definition: dict[str, Any], *, role: str = "") -> str:
    machine = emulator.client("stepfunctions").create_state_machine(
        name=any_name("machine"),
        definition=json.dumps(definition),
        roleArn=role or any_role(emulator, "states.amazonaws.com", allow("lambda:InvokeFunction")),
    )
    return str(machine["stateMachineArn"])


def finished(emulator: Emulator, execution_arn: str, seconds: float = 60) -> dict[str, Any]:
    """The description of an execution that has ended."""
    states = emulator.client("stepfunctions")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        description: dict[str, Any] = states.describe_execution(executionArn=execution_arn)
        if description["status"] != "RUNNING":
            return description
        time.sleep(0.05)
    raise AssertionError(f"{execution_arn} is still running")
