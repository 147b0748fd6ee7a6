"""RemoveRuns empties what is deleted with the stage, and reports to CloudFormation."""

import json
import urllib.request
from contextlib import nullcontext
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.handlers import remove_runs
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.handlers import AnyContext
from tests.builders.memory import PREFIX, any_environment

DELIVERY = {
    "Effect": "Allow",
    "Principal": {"Service": "logging.s3.amazonaws.com"},
    "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::access-logs/*",
}


@pytest.fixture
def answers(aws: None, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The responses to CloudFormation. The account has buckets `artifacts` and `access-logs`, with a file in each."""
    for name, value in any_environment().items():
        monkeypatch.setenv(name, value)
    s3 = client("s3")
    for bucket in ("artifacts", "access-logs"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=bucket, Key="old", Body=b"")
        s3.delete_object(Bucket=bucket, Key="old")
    s3.put_bucket_policy(Bucket="access-logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": [DELIVERY]}))
    responses: list[dict[str, Any]] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        assert isinstance(request.data, bytes)
        responses.append(json.loads(request.data))
        return nullcontext()

    monkeypatch.setattr(remove_runs.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(remove_runs, "_stop_executions", lambda *_: [])
    monkeypatch.setattr(remove_runs, "_delete_all", lambda *_: [])
    monkeypatch.setattr(remove_runs, "_delete_imports", lambda *_: [])
    monkeypatch.setattr(remove_runs, "POLL_SECONDS", 0)
    return responses


def destroy(request_type: str = "Delete", seconds_left: float = 900, **properties: Any) -> None:
    event = {
        "RequestType": request_type,
        "ResponseURL": "https://answer",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Runs",
        "ResourceProperties": {"StateMachineArn": "machine", **properties},
    }
    remove_runs.handler(event, AnyContext(seconds_left=seconds_left))


def has_policy(bucket: str) -> bool:
    try:
        client("s3").get_bucket_policy(Bucket=bucket)
    except ClientError:
        return False
    return True


def test_nothing_is_delivered_any_more_where_the_access_logs_are_when_the_first_bucket_is_emptied(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, delivered = remove_runs._empty, []

    def noting(*given: Any) -> bool:
        delivered.append(has_policy("access-logs"))
        return empty(*given)

    monkeypatch.setattr(remove_runs, "_empty", noting)
    destroy(EmptyBuckets=["artifacts", "access-logs"], AccessLogs="access-logs")
    assert delivered
    assert not any(delivered)
    for bucket in ("artifacts", "access-logs"):
        left = client("s3").list_object_versions(Bucket=bucket)
        assert not left.keys() & {"Versions", "DeleteMarkers"}
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]


def test_a_stage_that_keeps_its_data_keeps_its_access_logs_and_their_policy(answers: list[dict[str, Any]]) -> None:
    destroy(EmptyBuckets=[])
    assert has_policy("access-logs")
    assert client("s3").list_object_versions(Bucket="access-logs")["Versions"]
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]


def test_an_object_that_s3_does_not_delete_fails_the_removal_and_is_named(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"Errors": [{"Key": "old", "VersionId": "1", "Code": "AccessDenied", "Message": "Access Denied"}]}
    monkeypatch.setattr(client("s3"), "delete_objects", lambda **_: refused)
    destroy(EmptyBuckets=["artifacts"])
    (answer,) = answers
    assert answer["Status"] == "FAILED"
    assert "Cannot delete 1 object in artifacts: old: AccessDenied: Access Denied." in answer["Reason"]


def test_what_is_written_while_a_bucket_is_emptied_goes_as_well(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, last_words = remove_runs._empty, ["status.json", "report.html"]

    def emptying(bucket: str, *rest: Any) -> bool:
        found = empty(bucket, *rest)
        if last_words:
            client("s3").put_object(Bucket=bucket, Key=last_words.pop(), Body=b"aborted")
        return found

    monkeypatch.setattr(remove_runs, "_empty", emptying)
    destroy(EmptyBuckets=["artifacts"])
    assert answers[0]["Status"] == "SUCCESS"
    assert "Versions" not in client("s3").list_object_versions(Bucket="artifacts")


EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:machine:one"


@pytest.fixture
def responses(cloud: FakeAws, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The responses to CloudFormation, for an account in memory in which a pause takes no time."""
    answers: list[dict[str, Any]] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        assert isinstance(request.data, bytes)
        answers.append(json.loads(request.data))
        return nullcontext()

    monkeypatch.setattr(remove_runs.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(remove_runs.time, "sleep", lambda seconds: None)
    return answers


def running_once(cloud: FakeAws) -> None:
    """Lets one execution run until it is stopped."""
    states = cloud["stepfunctions"]

    def list_executions(**_: Any) -> dict[str, Any]:
        stopped = states.requests("stop_execution")
        return {"executions": [] if stopped else [{"executionArn": EXECUTION}]}

    states.answers["list_executions"] = list_executions


def test_what_runs_created_is_stopped_and_deleted_before_the_stacks_go(
    cloud: FakeAws, responses: list[dict[str, Any]]
) -> None:
    running_once(cloud)
    cloud.sagemaker.add_job(f"{PREFIX}-done", TrainingJobStatus="Completed")
    cloud.sagemaker.add_endpoint()
    cloud.sagemaker.add("model", f"{PREFIX}-unused")
    destroy()
    assert [answer["Status"] for answer in responses] == ["SUCCESS"]
    assert [request["executionArn"] for request in cloud["stepfunctions"].requests("stop_execution")] == [EXECUTION]
    assert {kind: cloud.sagemaker.names(kind) for kind in ("endpoint", "endpoint_config", "model")} == {
        "endpoint": set(),
        "endpoint_config": set(),
        "model": set(),
    }


def test_what_has_another_prefix_stays(cloud: FakeAws, responses: list[dict[str, Any]]) -> None:
    cloud.sagemaker.add_endpoint("finetune-prod-faq", "finetune-prod-faq")
    destroy()
    assert cloud.sagemaker.names("endpoint") == cloud.sagemaker.names("model") == {"finetune-prod-faq"}


def test_a_job_is_stopped_and_an_endpoint_waited_for_until_both_are_gone(
    cloud: FakeAws, responses: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, endpoint = cloud.sagemaker.add_job(), cloud.sagemaker.add_endpoint(status="Creating")
    waits: list[tuple[str, str]] = []

    def time_passes(seconds: float) -> None:
        waits.append((job["TrainingJobStatus"], endpoint["EndpointStatus"]))
        job["TrainingJobStatus"], endpoint["EndpointStatus"] = "Stopped", "InService"

    monkeypatch.setattr(remove_runs.time, "sleep", time_passes)
    destroy()
    assert waits[0] == ("Stopping", "Creating")
    assert cloud.sagemaker.names("endpoint") == set()
    assert responses[0]["Status"] == "SUCCESS"


def test_imported_models_go_with_the_stage_and_those_still_being_imported_once_they_are_there(
    cloud: FakeAws, responses: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    coming, theirs = f"{PREFIX}-coming", "finetune-prod-faq"
    cloud.bedrock.add_model()
    cloud.bedrock.add_model(theirs)
    cloud.bedrock.add_job(coming)
    monkeypatch.setattr(remove_runs.time, "sleep", lambda seconds: cloud.bedrock.end(coming))
    destroy()
    assert [answer["Status"] for answer in responses] == ["SUCCESS"]
    assert [model["modelName"] for model in cloud.bedrock.models.values()] == [theirs]


def test_a_stage_that_may_not_import_is_destroyed_where_bedrock_is_forbidden(
    cloud: FakeAws, responses: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.bedrock.refuse("list_model_import_jobs", "AccessDeniedException", "not you")
    destroy()
    assert "not you" in responses[0]["Reason"]
    monkeypatch.setenv("IMPORT_ROLE_ARN", "")
    settings.cache_clear()
    destroy()
    assert responses[1]["Status"] == "SUCCESS"


INTERFACES = [
    {"NetworkInterfaceId": "eni-1", "Groups": [{"GroupId": "sg-functions"}]},
    {"NetworkInterfaceId": "eni-2", "Groups": [{"GroupId": "sg-other"}]},
]
GROUPS = ["sg-jobs", "sg-functions"]


def passing(monkeypatch: pytest.MonkeyPatch, cloud: FakeAws) -> list[float]:
    """The seconds since the start, which pauses add to. Lambda keeps the functions' interface for half an hour."""
    clock, started = [0.0], remove_runs.time.time()
    monkeypatch.setattr(remove_runs.time, "time", lambda: started + clock[0])
    monkeypatch.setattr(remove_runs.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    kept = lambda **_: {"NetworkInterfaces": INTERFACES[clock[0] > 1800 :]}  # noqa: E731
    cloud["ec2"].answers["describe_network_interfaces"] = kept
    return clock


class Running(AnyContext):
    """A function that began now, and has 15 minutes."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self._clock, self._began = clock, clock[0]

    def get_remaining_time_in_millis(self) -> int:
        return round((900 - (self._clock[0] - self._began)) * 1000)


def released(cloud: FakeAws, clock: list[float]) -> int:
    """Calls the function as CloudFormation does, and again as often as it calls itself; how often that was."""
    event: dict[str, Any] = {
        "RequestType": "Delete",
        "ResponseURL": "https://answer",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Interfaces",
        "ResourceProperties": {"SecurityGroups": GROUPS},
    }
    for calls in range(10):
        remove_runs.handler(event, Running(clock))
        requested = cloud["lambda"].requests("invoke")
        if len(requested) == calls:
            return calls
        event = json.loads(requested[-1]["Payload"])
    raise AssertionError("It calls itself without end.")


def test_lambda_s_interfaces_are_waited_for_longer_than_a_function_lasts(
    cloud: FakeAws, responses: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = passing(monkeypatch, cloud)
    assert released(cloud, clock) == 2
    assert [answer["Status"] for answer in responses] == ["SUCCESS"]
    assert 1800 < clock[0] < 1900
    (request, _) = cloud["lambda"].requests("invoke")
    assert (request["FunctionName"], request["InvocationType"]) == (AnyContext.invoked_function_arn, "Event")


def test_interfaces_that_stay_are_named_before_cloudformation_gives_up(
    cloud: FakeAws, responses: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = passing(monkeypatch, cloud)
    cloud["ec2"].answers["describe_network_interfaces"] = {"NetworkInterfaces": INTERFACES}
    released(cloud, clock)
    ((answer),) = responses
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == ("Still being removed: network interface eni-1. Destroy the stack again to continue.")
    assert 3000 < clock[0] < 3600


def test_it_answers_where_it_may_not_call_itself(cloud: FakeAws, responses: list[dict[str, Any]]) -> None:
    cloud["ec2"].answers["describe_network_interfaces"] = {"NetworkInterfaces": INTERFACES}
    cloud["lambda"].refuse("invoke", "AccessDeniedException", "not you")
    destroy(seconds_left=39, SecurityGroups=GROUPS)
    assert responses[0]["Status"] == "FAILED"
    assert "eni-1" in responses[0]["Reason"]


def test_emptying_a_bucket_ends_in_time_and_goes_on(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[dict[str, Any]] = []
    monkeypatch.setattr(client("lambda"), "invoke", lambda **request: requests.append(request))
    destroy(seconds_left=20, EmptyBuckets=["artifacts"])
    assert answers == []  # it goes on by itself
    (request,) = requests
    assert json.loads(request["Payload"])["RequestType"] == "Delete"
    assert client("s3").list_object_versions(Bucket="artifacts")["Versions"]
    remove_runs.handler(json.loads(request["Payload"]), AnyContext())
    assert [answer["Status"] for answer in answers] == ["SUCCESS"]


def test_the_registry_is_emptied_with_the_buckets_only(cloud: FakeAws, responses: list[dict[str, Any]]) -> None:
    groups = [{"ModelPackageGroupName": f"{PREFIX}-llama"}, {"ModelPackageGroupName": f"not-{PREFIX}-llama"}]
    cloud.sagemaker.answers["list_model_package_groups"] = {"ModelPackageGroupSummaryList": groups}
    cloud.sagemaker.answers["list_model_packages"] = {"ModelPackageSummaryList": [{"ModelPackageArn": "arn:1"}]}
    destroy(EmptyBuckets=[])
    assert not cloud.sagemaker.requests("delete_model_package")
    destroy(EmptyBuckets=["artifacts"])
    assert cloud.sagemaker.requests("delete_model_package") == [{"ModelPackageName": "arn:1"}]
    assert cloud.sagemaker.requests("delete_model_package_group") == [{"ModelPackageGroupName": f"{PREFIX}-llama"}]


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_nothing_is_removed_before_the_stacks_are_deleted(
    cloud: FakeAws, responses: list[dict[str, Any]], request_type: str
) -> None:
    cloud.sagemaker.add_endpoint()
    destroy(request_type=request_type)
    assert responses[0]["Status"] == "SUCCESS"
    assert cloud.sagemaker.names("endpoint")
    assert not cloud["stepfunctions"].calls


def test_a_failure_is_answered_and_says_how_to_go_on(cloud: FakeAws, responses: list[dict[str, Any]]) -> None:
    cloud.sagemaker.refuse("list_endpoints", "AccessDeniedException", "not you")
    destroy()
    assert responses[0]["Status"] == "FAILED"
    assert "not you" in responses[0]["Reason"]
    assert "Destroy the stack again" in responses[0]["Reason"]
