"""A canary for every addition to and change of the emulator: its next version cannot break one silently."""

import io
import json
import os
import re
import subprocess
import time
import urllib.error
import zipfile
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rehearsal import running
from rehearsal.running import Emulator
from tests.rehearsal.support.mailbox import EventQueue
from tests.rehearsal.support.parts import LEAST_PART, upload_in_parts
from tests.rehearsal.support.stacks import (
    WAIT_SCALE,
    allow,
    any_function,
    any_name,
    any_role,
    any_state_machine,
    deploy,
    finished,
    invoke,
    settle,
)

EXTENSIONS = running.PROJECT / "rehearsal" / "emulator" / "extensions.py"
STUBBED = re.findall(r'Stub\("([^"]+)"', EXTENSIONS.read_text())
FAILING = """
class Rejected(Exception):
    pass

def handler(event, context):
    raise Rejected("line 7")
"""


@pytest.mark.parametrize("resource_type", STUBBED)
def test_a_stubbed_type_is_created_and_deleted_with_its_stack(emulator: Emulator, resource_type: str) -> None:
    cloudformation = emulator.client("cloudformation")
    stack = deploy(emulator, {"Thing": {"Type": resource_type, "Properties": {}}})
    cloudformation.delete_stack(StackName=stack)
    assert settle(cloudformation, stack) == "DELETE_COMPLETE"


def test_a_function_reports_the_name_of_its_exception(emulator: Emulator) -> None:
    report = invoke(emulator, any_function(emulator, FAILING))
    assert (report["errorType"], report["errorMessage"]) == ("Rejected", "line 7")


def test_a_state_machine_catches_a_function_s_exception_by_name(emulator: Emulator) -> None:
    function = any_function(emulator, FAILING)
    caught = run(emulator, task(function, catch=["Rejected"]))
    assert json.loads(caught["output"]) == "caught"


def test_a_function_that_dies_fails_its_task_with_a_runtime_error(emulator: Emulator) -> None:
    exiting = any_function(emulator, "import os\ndef handler(event, context):\n    os._exit(1)\n")
    report = invoke(emulator, exiting)
    assert report["errorType"] == "Runtime.ExitError"
    assert report["errorMessage"].endswith("Error: Runtime exited with error: exit status 1")


LIMITED = """
import time

def handler(event, context):
    kept = b"x" * (event["mib"] << 20)
    time.sleep(event.get("seconds", 0))
    return len(kept) >> 20
"""


def test_a_function_that_exceeds_its_memory_is_killed(emulator: Emulator) -> None:
    function = any_function(emulator, LIMITED, MemorySize=256)
    killed = invoke(emulator, function, {"mib": 300})
    assert killed["errorType"] == "Runtime.ExitError"
    assert killed["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
    assert invoke(emulator, function, {"mib": 100}) == 100


def test_a_function_is_killed_while_it_works_not_only_at_its_end(emulator: Emulator) -> None:
    function = any_function(emulator, LIMITED, MemorySize=256, Timeout=30)
    killed = invoke(emulator, function, {"mib": 300, "seconds": 50})
    assert killed["errorType"] == "Runtime.ExitError", "not stopped at its timeout"


def test_a_function_that_exceeds_its_timeout_is_stopped(emulator: Emulator) -> None:
    late = invoke(emulator, any_function(emulator, LIMITED, Timeout=1), {"mib": 1, "seconds": 20})
    assert late["errorType"] == "Sandbox.Timedout"
    assert late["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")


def test_a_state_machine_catches_a_killed_and_a_late_function_by_name(emulator: Emulator) -> None:
    greedy = any_function(
        emulator, "def handler(event, context):\n    return len(b'x' * (300 << 20))\n", MemorySize=256
    )
    slow = any_function(emulator, "import time\ndef handler(event, context):\n    time.sleep(20)\n", Timeout=1)
    for function, error in ((greedy, "Runtime.ExitError"), (slow, "Sandbox.Timedout")):
        assert json.loads(run(emulator, task(function, catch=[error]))["output"]) == "caught"


def test_a_result_of_more_than_256_kib_fails_the_execution_uncaught(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    return 'x' * (256 << 10)\n")
    failed = run(emulator, task(function))
    assert (failed["status"], failed["error"]) == ("FAILED", "States.DataLimitExceeded")


def test_a_cause_is_cut_at_the_length_the_api_gives(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    raise ValueError('x' * 40_000)\n")
    machine = task(function)
    del machine["States"]["Work"]["Catch"]
    assert len(run(emulator, machine)["cause"]) == 32_768


WRITING = """
import boto3

def handler(event, context):
    s3 = boto3.client("s3")
    for key in event["keys"]:
        s3.put_object(Bucket=event["bucket"], Key=key, Body=b"1")
    return "done"
"""


def test_a_function_can_be_killed_once_a_call_of_its_was_carried_out(emulator: Emulator) -> None:
    bucket = any_bucket(emulator)
    role = any_role(emulator, "lambda.amazonaws.com", allow("s3:PutObject", f"arn:aws:s3:::{bucket}/*"))
    function = any_function(emulator, WRITING, role=role)
    emulator.inject("function-killed", match=f"{function} mine", after=1)
    untouched = invoke(emulator, function, {"run_id": "another", "bucket": bucket, "keys": ["first"]})
    killed = invoke(emulator, function, {"run_id": "mine", "bucket": bucket, "keys": ["second", "third", "fourth"]})
    again = invoke(emulator, function, {"run_id": "mine", "bucket": bucket, "keys": ["third"]})
    keys = [item["Key"] for item in emulator.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert (untouched, killed["errorType"], again) == ("done", "Runtime.ExitError", "done")
    assert keys == ["first", "second", "third"]


def test_a_function_has_four_processes_at_most_and_further_calls_wait(emulator: Emulator) -> None:
    source = "import os, time\ndef handler(event, context):\n    time.sleep(0.3)\n    return os.getpid()\n"
    function = any_function(emulator, source)
    with ThreadPoolExecutor(12) as pool:
        processes = list(pool.map(lambda _: invoke(emulator, function), range(12)))
    assert len(set(processes)) == 4


def task_of(function: str) -> dict[str, Any]:
    """A state machine's definition that calls the function once."""
    task = {"Type": "Task", "Resource": f"arn:aws:lambda:us-east-1:000000000000:function:{function}", "End": True}
    return {"StartAt": "Call", "States": {"Call": task}}


def error_of(emulator: Emulator, function: str) -> str | None:
    machine = any_state_machine(emulator, task_of(function))
    started = emulator.client("stepfunctions").start_execution(stateMachineArn=machine)
    return finished(emulator, started["executionArn"]).get("error")


def test_only_a_function_in_a_network_is_refused_while_it_is_idle(emulator: Emulator) -> None:
    source, ec2 = "def handler(event, context):\n    return 'done'\n", emulator.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    network = {"SubnetIds": [subnet["SubnetId"]], "SecurityGroupIds": [group]}
    inside, outside = any_function(emulator, source, VpcConfig=network), any_function(emulator, source)
    for function in (inside, outside):
        emulator.inject("function-idle", match=function)
    assert error_of(emulator, inside) == "Lambda.ResourceNotReadyException"
    assert [error_of(emulator, inside), error_of(emulator, outside)] == [None, None]


def test_an_account_without_concurrency_refuses_calls(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    return 'done'\n")
    emulator.inject("throttled-account", match=function, message="0", times=2)
    with pytest.raises(emulator.client("lambda", attempts=1).exceptions.TooManyRequestsException):
        emulator.client("lambda", attempts=1).invoke(FunctionName=function)
    assert error_of(emulator, function) == "Lambda.TooManyRequestsException"
    assert error_of(emulator, function) is None
    emulator.inject("throttled-account", match=function)
    assert error_of(emulator, function) is None  # ten are allowed


def test_interfaces_of_a_deleted_function_hold_its_subnet_and_group(emulator: Emulator) -> None:
    emulator.inject("late-interfaces", match="canary", message="1.5")
    network = {"SubnetIds": [{"Ref": "Subnet"}], "SecurityGroupIds": [{"Fn::GetAtt": ["Group", "GroupId"]}]}
    code = {"ZipFile": "def handler(event, context):\n    pass\n"}
    role = any_role(emulator, "lambda.amazonaws.com")
    resources = {
        "Network": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Network"}, "CidrBlock": "10.9.0.0/24"},
        },
        "Group": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {"VpcId": {"Ref": "Network"}, "GroupDescription": "any"},
        },
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": code,
                "Handler": "index.handler",
                "Runtime": "python3.13",
                "Role": role,
                "VpcConfig": network,
            },
        },
    }
    cloudformation, stack = emulator.client("cloudformation"), deploy(emulator, resources)
    cloudformation.delete_stack(StackName=stack)
    assert settle(cloudformation, stack) == "DELETE_FAILED"
    time.sleep(2)
    cloudformation.delete_stack(StackName=stack)
    assert settle(cloudformation, stack) == "DELETE_COMPLETE"


def test_a_function_whose_module_does_not_import_says_so(emulator: Emulator) -> None:
    report = invoke(emulator, any_function(emulator, "import nowhere\ndef handler(event, context):\n    pass\n"))
    assert report == {"errorType": "Runtime.ImportModuleError", "errorMessage": "No module named 'nowhere'"}


def test_a_function_imports_what_the_layer_holds_and_not_the_checkout(emulator: Emulator) -> None:
    source = """
import importlib.util

def handler(event, context):
    return {name: bool(importlib.util.find_spec(name)) for name in event["names"]}
"""
    names = ["pydantic", "orjson", "xxhash", "aws_lambda_powertools", "boto3", "rehearsal", "finetuning", "pytest"]
    found = invoke(emulator, any_function(emulator, source), {"names": names})
    assert [name for name in names if found[name]] == names[:5]


def test_the_layer_s_foreign_libraries_are_not_loaded(emulator: Emulator) -> None:
    archive = zipped({"python/orjson.py": "raise ImportError('built for another machine')"})
    layer = emulator.client("lambda").publish_layer_version(LayerName=any_name("layer"), Content={"ZipFile": archive})
    source = "import orjson\ndef handler(event, context):\n    return orjson.loads(b'1')\n"
    assert invoke(emulator, any_function(emulator, source, Layers=[layer["LayerVersionArn"]])) == 1


def test_the_parquet_layer_brings_pyarrow_to_the_function_that_has_it(emulator: Emulator) -> None:
    source = (
        "import importlib.util\ndef handler(event, context):\n    return bool(importlib.util.find_spec('pyarrow'))\n"
    )
    content = {"ZipFile": zipped({"python/any.py": ""})}
    layer = emulator.client("lambda").publish_layer_version(LayerName=any_name("Parquet"), Content=content)
    assert invoke(emulator, any_function(emulator, source, Layers=[layer["LayerVersionArn"]])) is True
    assert invoke(emulator, any_function(emulator, source)) is False


def test_a_function_with_layers_over_the_limit_is_not_made(emulator: Emulator) -> None:
    archive = zipped({f"python/{number}": "0" * 90_000_000 for number in range(2)})
    publish = emulator.client("lambda").publish_layer_version
    layers = [publish(LayerName=any_name("layer"), Content={"ZipFile": archive})["LayerVersionArn"] for _ in range(2)]
    function = {
        "Code": {"ZipFile": "def handler(event, context):\n    pass\n"},
        "Handler": "index.handler",
        "Runtime": "python3.13",
        "Role": any_role(emulator, "lambda.amazonaws.com"),
    }
    deploy(emulator, {"Small": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Layers": layers[:1]}}})
    with pytest.raises(AssertionError, match="exceeds the maximum allowed size of 262144000 bytes"):
        deploy(emulator, {"Large": {"Type": "AWS::Lambda::Function", "Properties": {**function, "Layers": layers}}})


def test_a_policy_with_too_many_characters_is_not_deployed(emulator: Emulator) -> None:
    def policy(statements: int) -> dict[str, Any]:
        statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::" + "x" * 900}
        document = {"Version": "2012-10-17", "Statement": [statement] * statements}
        return {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}

    deploy(emulator, {"Short": policy(6)})
    with pytest.raises(AssertionError, match="Cannot exceed quota for PolicySize: 6144"):
        deploy(emulator, {"Long": policy(7)})


def test_a_function_may_do_what_its_role_allows_and_nothing_else(emulator: Emulator) -> None:
    bucket = any_bucket(emulator)
    source = """
import boto3

def handler(event, context):
    s3 = boto3.client("s3")
    s3.put_object(Bucket=event["bucket"], Key="allowed/x", Body=b"1")
    s3.put_object(Bucket=event["bucket"], Key="forbidden/x", Body=b"1")
"""
    role = any_role(emulator, "lambda.amazonaws.com", allow("s3:PutObject", f"arn:aws:s3:::{bucket}/allowed/*"))
    report = invoke(emulator, any_function(emulator, source, role=role), {"bucket": bucket})
    keys = [item["Key"] for item in emulator.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["allowed/x"]
    assert "AccessDenied" in report["errorMessage"]
    refused = {(call["action"], call["resource"]) for call in emulator.denials()}
    assert ("s3:PutObject", f"arn:aws:s3:::{bucket}/forbidden/x") in refused


def test_sessions_are_registered_by_several_threads(emulator: Emulator) -> None:
    """As when functions start at the same moment. In a process of its own, where threads take turns all the time."""
    program = """
import sys, threading
from ministack.services import sts
from rehearsal.emulator import permissions

permissions.install()
sys.setswitchinterval(1e-6)
failed = []

def register(thread):
    try:
        for number in range(500):
            sts.register_session(f"{thread}-{number}", {})
    except RuntimeError as error:
        failed.append(error)

threads = [threading.Thread(target=register, args=(each,)) for each in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
sys.exit(len(failed))
"""
    environment = {"PYTHONPATH": str(running.PROJECT)}
    done = subprocess.run([running.EMULATOR_PYTHON, "-c", program], env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_function_needs_the_key_of_an_encrypted_bucket(emulator: Emulator) -> None:
    bucket, key = encrypted_bucket(emulator)
    source = """
import boto3

def handler(event, context):
    boto3.client("s3").put_object(Bucket=event["bucket"], Key="x", Body=b"1")
"""
    put = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/*")
    via_s3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    use_key = {**allow("kms:GenerateDataKey", key), "Condition": via_s3}
    without = any_function(emulator, source, role=any_role(emulator, "lambda.amazonaws.com", put))
    assert "kms:GenerateDataKey" in invoke(emulator, without, {"bucket": bucket})["errorMessage"]
    using = any_function(emulator, source, role=any_role(emulator, "lambda.amazonaws.com", put, use_key))
    assert invoke(emulator, using, {"bucket": bucket}) is None


def test_a_key_s_own_policy_can_forbid_its_use(emulator: Emulator) -> None:
    everyone = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*"}
    no_one = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt"}
    policy = {"Version": "2012-10-17", "Statement": [{**each, "Resource": "*"} for each in (everyone, no_one)]}
    bucket, _ = encrypted_bucket(emulator, Policy=json.dumps(policy))
    source = """
import boto3

def handler(event, context):
    s3 = boto3.client("s3")
    s3.put_object(Bucket=event["bucket"], Key="x", Body=b"1")
    s3.get_object(Bucket=event["bucket"], Key="x")
"""
    everything = allow(["s3:PutObject", "s3:GetObject", "kms:GenerateDataKey", "kms:Decrypt"])
    function = any_function(emulator, source, role=any_role(emulator, "lambda.amazonaws.com", everything))
    invoke(emulator, function, {"bucket": bucket})
    refused = {call["action"] for call in emulator.denials() if function in call["caller"]}
    assert refused == {"kms:Decrypt"}


def test_a_workflow_calls_only_functions_that_its_role_may_call(emulator: Emulator) -> None:
    called, other = (any_function(emulator, "def handler(event, context):\n    return 1\n") for _ in range(2))
    elsewhere = allow("lambda:InvokeFunction", f"arn:aws:lambda:us-east-1:000000000000:function:{other}")
    role = any_role(emulator, "states.amazonaws.com", elsewhere)
    states = emulator.client("stepfunctions")
    for function, end in ((called, "FAILED"), (other, "SUCCEEDED")):
        machine = any_state_machine(emulator, task(function), role=role)
        assert finished(emulator, states.start_execution(stateMachineArn=machine)["executionArn"])["status"] == end


@pytest.mark.parametrize(("trusted", "started"), [("events.amazonaws.com", 1), ("scheduler.amazonaws.com", 0)])
def test_an_event_starts_a_workflow_by_a_role_that_trusts_eventbridge(
    emulator: Emulator, trusted: str, started: int
) -> None:
    machine = any_state_machine(emulator, {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
    events, rule = emulator.client("events"), any_name("rule")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    role = any_role(emulator, trusted, allow("states:StartExecution", machine))
    events.put_targets(Rule=rule, Targets=[{"Id": "machine", "Arn": machine, "RoleArn": role}])
    events.put_events(Entries=[{"Source": rule, "DetailType": "Happened", "Detail": "{}"}])
    states = emulator.client("stepfunctions")
    assert len(states.list_executions(stateMachineArn=machine)["executions"]) == started


@pytest.mark.parametrize("permitted", [True, False])
def test_an_event_calls_a_function_whose_own_policy_names_the_rule(emulator: Emulator, permitted: bool) -> None:
    function = any_function(emulator, "def handler(event, context):\n    return 1\n")
    events, rule = emulator.client("events"), any_name("rule")
    source = events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))["RuleArn"]
    arn = emulator.client("lambda").get_function(FunctionName=function)["Configuration"]["FunctionArn"]
    emulator.client("lambda").add_permission(
        FunctionName=function,
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=source if permitted else source + "-other",
    )
    events.put_targets(Rule=rule, Targets=[{"Id": "function", "Arn": arn}])
    events.put_events(Entries=[{"Source": rule, "DetailType": "Happened", "Detail": "{}"}])
    refused = [call for call in emulator.denials() if call["resource"] == arn]
    assert [call["caller"] for call in refused] == ([] if permitted else ["events.amazonaws.com"])


def test_a_grant_counts_as_used_once_a_call_needed_it_under_its_condition(emulator: Emulator) -> None:
    bucket = any_bucket(emulator)
    source = """
import boto3

def handler(event, context):
    boto3.client("s3").put_object(Bucket=event["bucket"], Key="x", Body=b"1")
"""
    put = allow("s3:PutObject", f"arn:aws:s3:::{bucket}/x")
    elsewhere = {**put, "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}}
    role = any_role(emulator, "lambda.amazonaws.com", put, elsewhere, allow("s3:GetObject", f"arn:aws:s3:::{bucket}/x"))
    invoke(emulator, any_function(emulator, source, role=role), {"bucket": bucket})
    granted = [grant for grant in emulator.grants() if grant["role"] == role.rpartition("/")[2]]
    assert [(grant["action"], grant["condition"] == "{}") for grant in granted if grant["used"]] == [
        ("s3:PutObject", True)
    ]
    assert len(granted) == 3


def test_a_log_is_read_by_who_may_read_its_stream(emulator: Emulator) -> None:
    logs, group = emulator.client("logs"), any_name("log-group")
    logs.create_log_group(logGroupName=group)
    for stream in ("ours-1", "theirs-1"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    source = """
import boto3

def handler(event, context):
    boto3.client("logs").get_log_events(logGroupName=event["group"], logStreamName=event["stream"])
"""
    ours = allow("logs:GetLogEvents", f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:log-stream:ours-*")
    function = any_function(emulator, source, role=any_role(emulator, "lambda.amazonaws.com", ours))
    assert invoke(emulator, function, {"group": group, "stream": "ours-1"}) is None
    assert "AccessDenied" in invoke(emulator, function, {"group": group, "stream": "theirs-1"})["errorMessage"]


def test_a_map_s_steps_are_in_the_history(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    return event\n")
    step = {**task(function)["States"]["Work"], "End": True}
    step.pop("Catch")
    workflow = {
        "QueryLanguage": "JSONata",
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "Items": [1, 2],
                "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Work", "States": {"Work": step}},
                "End": True,
            }
        },
    }
    ended = run(emulator, workflow)
    history = emulator.client("stepfunctions").get_execution_history(executionArn=ended["executionArn"])["events"]
    entered = [event["stateEnteredEventDetails"]["name"] for event in history if "stateEnteredEventDetails" in event]
    assert sorted(entered) == ["Each", "Work", "Work"]


def test_an_aborted_execution_stays_aborted_when_its_task_then_fails(emulator: Emulator) -> None:
    source = "import time\ndef handler(event, context):\n    time.sleep(1.5)\n    raise RuntimeError()\n"
    workflow = task(any_function(emulator, source))
    del workflow["States"]["Work"]["Catch"]
    states, machine = emulator.client("stepfunctions"), any_state_machine(emulator, workflow)
    arn = states.start_execution(stateMachineArn=machine)["executionArn"]
    time.sleep(0.5)
    states.stop_execution(executionArn=arn)
    time.sleep(2)
    assert states.describe_execution(executionArn=arn)["status"] == "ABORTED"


def waiting_for_its_token(function: str, **settings: Any) -> dict[str, Any]:
    """A state machine that waits for a token, and says "caught" when it gets none."""
    workflow = task(function)
    waiting = {"Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken", "Output": "{% $states.result %}"}
    payload = {"FunctionName": function, "Payload": {"token": "{% $states.context.Task.Token %}"}}
    workflow["States"]["Work"] |= {**waiting, "Arguments": payload, **settings}
    return workflow


def test_a_task_that_waits_for_its_token_fails_when_its_function_does(emulator: Emulator) -> None:
    ended = run(emulator, waiting_for_its_token(any_function(emulator, FAILING)))
    assert json.loads(ended["output"]) == "caught"


def test_a_time_limit_may_be_an_expression(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    pass\n")
    ended = run(emulator, waiting_for_its_token(function, TimeoutSeconds="{% 1 %}"))
    assert json.loads(ended["output"]) == "caught"


def test_an_aborted_execution_tries_nothing_again(emulator: Emulator) -> None:
    workflow = task(any_function(emulator, FAILING))
    workflow["States"]["Work"]["Retry"] = [{"ErrorEquals": ["Rejected"], "IntervalSeconds": 5, "MaxAttempts": 3}]
    states, machine = emulator.client("stepfunctions"), any_state_machine(emulator, workflow)
    arn = states.start_execution(stateMachineArn=machine)["executionArn"]

    def cli_errors() -> list[str]:
        return [event["type"] for event in states.get_execution_history(executionArn=arn)["events"]]

    while "TaskFailed" not in cli_errors():
        time.sleep(0.1)
    states.stop_execution(executionArn=arn)
    time.sleep(3)  # the pause before the second try is two seconds here
    assert cli_errors().count("TaskScheduled") == 1


def test_an_upload_s_event_carries_the_version_and_can_be_lost_or_doubled(emulator: Emulator) -> None:
    s3, bucket = emulator.client("s3"), any_bucket(emulator)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    subscribed = EventQueue.open(emulator, {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}})
    emulator.inject("event-lost", match="lost")
    emulator.inject("event-duplicated", match="double")
    versions = {
        key: s3.put_object(Bucket=bucket, Key=key, Body=b"1")["VersionId"] for key in ("lost", "once", "double")
    }
    expected = [(key, versions[key]) for key in ("double", "double", "once")]
    for _ in range(20):
        objects = [event["detail"]["object"] for event in subscribed.events()]
        time.sleep(0.1)
    assert sorted((each["key"], each["version-id"]) for each in objects) == expected


def test_an_input_transformer_does_not_escape_what_it_puts_into_json(emulator: Emulator) -> None:
    source = any_name("source")
    transformer = {"InputPathsMap": {"name": "$.detail.name"}, "InputTemplate": '{"name": <name>, "in": "x <name>"}'}
    subscribed = EventQueue.open(emulator, {"source": [source]}, InputTransformer=transformer)
    entry = {"Source": source, "DetailType": "any", "Detail": json.dumps({"name": 'a "b"'})}
    assert emulator.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert subscribed.bodies() == ['{"name": "a "b"", "in": "x a "b""}']


def publishing(source: str) -> dict[str, Any]:
    """A state machine that publishes an event of this source, and says "caught" after EventBridge did not take it."""
    work = {
        "Type": "Task",
        "Resource": "arn:aws:states:::events:putEvents",
        "Arguments": {
            "Entries": [{"Source": source, "DetailType": "Ended", "Detail": "{% {'given': $states.input} %}"}]
        },
        "Output": "{% $states.result.FailedEntryCount %}",
        "Catch": [{"ErrorEquals": ["EventBridge.FailedEntry"], "Next": "Caught"}],
        "End": True,
    }
    caught = {"Type": "Pass", "Output": "caught", "End": True}
    return {"QueryLanguage": "JSONata", "StartAt": "Work", "States": {"Work": work, "Caught": caught}}


def test_a_workflow_s_event_names_its_execution_and_may_not_be_taken(emulator: Emulator) -> None:
    source, states = any_name("source"), emulator.client("stepfunctions")
    subscribed = EventQueue.open(emulator, {"source": [source]})
    role = any_role(emulator, "states.amazonaws.com", allow("events:PutEvents"))
    machine = any_state_machine(emulator, publishing(source), role=role)
    emulator.inject("event-not-taken", match="second")
    ended = {
        word: finished(emulator, states.start_execution(stateMachineArn=machine, input=f'"{word}"')["executionArn"])
        for word in ("first", "second")
    }
    (event,) = subscribed.events()
    assert event["detail"] == {"given": "first"}
    assert event["resources"] == [ended["first"]["executionArn"], machine]
    assert [json.loads(each["output"]) for each in ended.values()] == [0, "caught"]


def test_a_workflow_publishes_only_events_that_its_role_may(emulator: Emulator) -> None:
    ours, theirs, states = any_name("source"), any_name("source"), emulator.client("stepfunctions")
    when = {"Condition": {"StringEquals": {"events:source": ours, "events:detail-type": "Ended"}}}
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    role = any_role(emulator, "states.amazonaws.com", allow("events:PutEvents", bus) | when)
    for source, end in ((ours, "SUCCEEDED"), (theirs, "FAILED")):
        machine = any_state_machine(emulator, publishing(source), role=role)
        arn = states.start_execution(stateMachineArn=machine, input="1")["executionArn"]
        assert finished(emulator, arn)["status"] == end
    assert [call["action"] for call in emulator.denials() if call["resource"] == bus] == ["events:PutEvents"]


def test_a_range_of_a_version_is_that_range(emulator: Emulator) -> None:
    s3, bucket = emulator.client("s3"), any_bucket(emulator)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="x", Body=b"0123456789")["VersionId"]
    part = s3.get_object(Bucket=bucket, Key="x", VersionId=version, Range="bytes=3-5")
    assert (part["Body"].read(), part["ContentRange"]) == (b"345", "bytes 3-5/10")
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket=bucket, Key="x", VersionId=version, Range="bytes=10-")


def test_an_upload_in_parts_has_a_checksum_of_the_whole_and_no_small_part_before_the_last(emulator: Emulator) -> None:
    s3, bucket = emulator.client("s3"), any_bucket(emulator)
    body = bytes(LEAST_PART) + b"1"
    upload_in_parts(s3, bucket, "x", body)
    kept = s3.head_object(Bucket=bucket, Key="x", ChecksumMode="ENABLED")
    assert (kept["ChecksumType"], kept["ETag"].endswith('-2"')) == ("FULL_OBJECT", True)
    assert b64decode(kept["ChecksumCRC64NVME"]).hex() == "aed963e117a98388"  # pragma: allowlist secret
    with pytest.raises(ClientError, match="EntityTooSmall"):
        upload_in_parts(s3, bucket, "x", body, LEAST_PART - 1)


def test_an_upload_in_parts_needs_the_key_to_decrypt_them(emulator: Emulator) -> None:
    bucket, key = encrypted_bucket(emulator)
    source = """
import boto3

def handler(event, context):
    boto3.client("s3").create_multipart_upload(Bucket=event["bucket"], Key="x")
"""
    rights = [allow("s3:PutObject", f"arn:aws:s3:::{bucket}/*"), allow("kms:GenerateDataKey", key)]
    function = any_function(emulator, source, role=any_role(emulator, "lambda.amazonaws.com", *rights))
    assert "kms:Decrypt" in invoke(emulator, function, {"bucket": bucket})["errorMessage"]


def test_a_saved_query_is_kept_and_one_the_service_would_refuse_is_not(emulator: Emulator) -> None:
    query = {"Name": any_name("query"), "QueryString": "fields @message", "LogGroupNames": ["group"]}
    stack = deploy(emulator, {"Query": {"Type": "AWS::Logs::QueryDefinition", "Properties": query}})
    logs, cloudformation = emulator.client("logs"), emulator.client("cloudformation")
    (found,) = logs.describe_query_definitions(queryDefinitionNamePrefix=query["Name"])["queryDefinitions"]
    assert (found["queryString"], found["logGroupNames"]) == ("fields @message", ["group"])
    cloudformation.delete_stack(StackName=stack)
    settle(cloudformation, stack)
    assert not logs.describe_query_definitions(queryDefinitionNamePrefix=query["Name"])["queryDefinitions"]
    with pytest.raises(AssertionError, match="queryString"):
        deploy(emulator, {"Query": {"Type": "AWS::Logs::QueryDefinition", "Properties": {"Name": "no text"}}})


def test_a_budget_is_kept_with_its_subscribers(emulator: Emulator) -> None:
    limits = {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": 200, "Unit": "USD"}}
    notification = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80}
    subscribed = {"Notification": notification, "Subscribers": [{"SubscriptionType": "SNS", "Address": "arn:topic"}]}
    properties = {"Budget": limits, "NotificationsWithSubscribers": [subscribed]}
    stack = deploy(emulator, {"Budget": {"Type": "AWS::Budgets::Budget", "Properties": properties}})
    budgets, cloudformation = emulator.client("budgets"), emulator.client("cloudformation")
    name = cloudformation.describe_stack_resources(StackName=stack)["StackResources"][0]["PhysicalResourceId"]
    found = budgets.describe_budget(AccountId="0" * 12, BudgetName=name)["Budget"]
    assert found["BudgetLimit"] == {"Amount": "200", "Unit": "USD"}
    (heard,) = budgets.describe_notifications_for_budget(AccountId="0" * 12, BudgetName=name)["Notifications"]
    assert heard["Threshold"] == 80
    cloudformation.delete_stack(StackName=stack)
    settle(cloudformation, stack)
    with pytest.raises(ClientError, match="NotFound"):
        budgets.describe_budget(AccountId="0" * 12, BudgetName=name)


def test_the_account_has_quotas_and_prices(emulator: Emulator) -> None:
    quotas = emulator.client("service-quotas").list_service_quotas(ServiceCode="sagemaker")["Quotas"]
    assert {"ml.g5.12xlarge for training job usage", "ml.g5.12xlarge for endpoint usage"} <= {
        q["QuotaName"] for q in quotas
    }
    filters = [{"Type": "TERM_MATCH", "Field": "instanceName", "Value": "ml.g5.12xlarge"}]
    products = emulator.client("pricing").get_products(ServiceCode="AmazonSageMaker", Filters=filters)["PriceList"]
    assert {json.loads(product)["product"]["attributes"]["component"] for product in products} == {
        "Training",
        "Hosting",
    }


def test_an_unknown_fault_is_refused(emulator: Emulator) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.inject("earthquake")


def test_a_fault_happens_where_all_its_words_are_once_it_let_some_pass(emulator: Emulator) -> None:
    function = any_function(emulator, "def handler(event, context):\n    return event['n']\n")
    emulator.inject("function-dies", match=f"{function} odd", after=1, times=2)
    payloads = [{"n": n, "run_id": "odd" if n % 2 else "even"} for n in range(1, 8)]
    answers = [invoke(emulator, function, payload) for payload in payloads]
    assert [answer if isinstance(answer, int) else None for answer in answers] == [1, 2, None, 4, None, 6, 7]


def test_it_listens_on_the_loopback_address_only(emulator: Emulator) -> None:
    listening = {
        (fields[1].split(":")[0], int(fields[1].split(":")[1], 16))
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
        if fields[3] == "0A"
    }
    assert {address for address, port in listening if port == emulator.port} == {"0100007F"}


def test_nothing_is_left_when_it_stops(tmp_path: Path, tiny_model: Path) -> None:
    emulator = running.start(tmp_path, tiny_model)
    worker = invoke(
        emulator, any_function(emulator, "import os\ndef handler(event, context):\n    return os.getpid()\n")
    )
    os.kill(worker, 0)
    emulator.stop()
    time.sleep(0.2)
    for pid in (worker, emulator.pid):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def any_bucket(emulator: Emulator) -> str:
    bucket = any_name("bucket")
    emulator.client("s3").create_bucket(Bucket=bucket)
    return bucket


def encrypted_bucket(emulator: Emulator, **key: str) -> tuple[str, str]:
    """Its name, and the ARN of the key that encrypts it."""
    bucket = any_bucket(emulator)
    arn = emulator.client("kms").create_key(**key)["KeyMetadata"]["Arn"]
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default}]}
    emulator.client("s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
    return bucket, arn


def zipped(files: dict[str, str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive.getvalue()


def task(function: str, catch: list[str] | None = None) -> dict[str, Any]:
    """A state machine that calls the function, and says "caught" after these errors."""
    work = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": function, "Payload": "{% $states.input %}"},
        "Output": "{% $states.result.Payload %}",
        "Catch": [{"ErrorEquals": catch or ["States.ALL"], "Next": "Caught"}],
        "End": True,
    }
    caught = {"Type": "Pass", "Output": "caught", "End": True}
    return {"QueryLanguage": "JSONata", "StartAt": "Work", "States": {"Work": work, "Caught": caught}}


def run(emulator: Emulator, definition: dict[str, Any]) -> dict[str, Any]:
    arn = emulator.client("stepfunctions").start_execution(
        stateMachineArn=any_state_machine(emulator, definition), input="{}"
    )["executionArn"]
    return finished(emulator, arn)


def redrivable(emulator: Emulator) -> dict[str, Any]:
    """A state machine that assigns a variable, waits for a second, and returns the variable and its redrives."""
    work = task(any_function(emulator, "def handler(event, context):\n    return event\n"))["States"]["Work"]
    seen = {"number": "{% $number %}", "redrives": "{% $states.context.Execution.RedriveCount %}"}
    say = {**work, "Arguments": {**work["Arguments"], "Payload": seen}}
    del work["End"], work["Catch"], say["Catch"]
    begin = {**work, "Assign": {"number": 7}, "Next": "Pause"}
    pause = {"Type": "Wait", "Seconds": 1 / WAIT_SCALE, "Next": "Say"}
    return {"QueryLanguage": "JSONata", "StartAt": "Begin", "States": {"Begin": begin, "Pause": pause, "Say": say}}


def entered(emulator: Emulator, execution_arn: str) -> list[str]:
    """The states that were entered, and the redrives between them."""
    events = emulator.client("stepfunctions").get_execution_history(executionArn=execution_arn)["events"]
    names = [event.get("stateEnteredEventDetails", {"name": event["type"]})["name"] for event in events]
    return [name for name in names if name in ("Begin", "Pause", "Say", "ExecutionRedriven")]


def test_an_aborted_execution_that_is_redriven_goes_on_where_it_was(emulator: Emulator) -> None:
    states = emulator.client("stepfunctions")
    machine = any_state_machine(emulator, redrivable(emulator))
    arn = states.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    while "Pause" not in entered(emulator, arn):
        time.sleep(0.05)
    with pytest.raises(ClientError, match="ExecutionNotRedrivable"):
        states.redrive_execution(executionArn=arn)
    states.stop_execution(executionArn=arn)
    assert states.describe_execution(executionArn=arn)["redriveStatus"] == "REDRIVABLE"
    states.redrive_execution(executionArn=arn)
    ended = finished(emulator, arn)
    assert (ended["status"], ended["redriveCount"]) == ("SUCCEEDED", 1)
    assert json.loads(ended["output"]) == {"number": 7, "redrives": 1}
    assert ended["redriveDate"] > ended["startDate"]
    time.sleep(1.5)  # the thread that waited when the execution was aborted has woken up
    assert entered(emulator, arn) == ["Begin", "Pause", "ExecutionRedriven", "Pause", "Say"]


def test_a_redriven_execution_that_ended_in_a_fail_state_fails_again(emulator: Emulator) -> None:
    machine = redrivable(emulator)
    machine["States"]["Pause"] = {"Type": "Fail", "Error": "Refused", "Cause": "always"}
    arn = run(emulator, machine)["executionArn"]
    emulator.client("stepfunctions").redrive_execution(executionArn=arn)
    ended = finished(emulator, arn)
    assert (ended["status"], ended["error"], ended["redriveCount"]) == ("FAILED", "Refused", 1)
    assert entered(emulator, arn) == ["Begin", "Pause", "ExecutionRedriven", "Pause"]


def test_a_function_deletes_alarms_by_the_names_its_role_allows(emulator: Emulator) -> None:
    source = """
import boto3

def handler(event, context):
    boto3.client("cloudwatch").delete_alarms(AlarmNames=event["names"])
"""
    role = any_role(
        emulator, "lambda.amazonaws.com", allow("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:*:*:alarm:ours-*")
    )
    function = any_function(emulator, source, role=role)
    assert invoke(emulator, function, {"names": ["ours-a", "ours-b"]}) is None
    assert "AccessDenied" in invoke(emulator, function, {"names": ["theirs"]})["errorMessage"]


def test_endpoints_are_scaled_only_while_they_serve(emulator: Emulator) -> None:
    scaling = emulator.client("application-autoscaling")
    variant = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/nobody/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    with pytest.raises(ClientError, match="absent"):
        scaling.register_scalable_target(**variant, MinCapacity=1, MaxCapacity=2)
    with pytest.raises(ClientError, match="cannot be greater"):
        scaling.register_scalable_target(**variant, MinCapacity=3, MaxCapacity=2)
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        scaling.deregister_scalable_target(**variant)
