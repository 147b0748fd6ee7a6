"""RemoveRuns empties what goes with the stage, and says so to CloudFormation."""

import json
import urllib.request
from contextlib import nullcontext
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.handlers import remove_runs
from tests.builders.handlers import AnyContext
from tests.builders.memory import any_environment

DELIVERY = {
    "Effect": "Allow",
    "Principal": {"Service": "logging.s3.amazonaws.com"},
    "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::access-logs/*",
}


@pytest.fixture
def answers(aws: None, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What CloudFormation is told. In the account: the buckets `artifacts` and `access-logs`, with a file in each."""
    for name, value in any_environment().items():
        monkeypatch.setenv(name, value)
    s3 = client("s3")
    for bucket in ("artifacts", "access-logs"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=bucket, Key="old", Body=b"")
        s3.delete_object(Bucket=bucket, Key="old")
    s3.put_bucket_policy(Bucket="access-logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": [DELIVERY]}))
    told: list[dict[str, Any]] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        assert isinstance(request.data, bytes)
        told.append(json.loads(request.data))
        return nullcontext()

    monkeypatch.setattr(remove_runs.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(remove_runs, "_remove", lambda *_: None)
    monkeypatch.setattr(remove_runs, "POLL_SECONDS", 0)
    return told


def destroy(**properties: Any) -> None:
    event = {
        "RequestType": "Delete",
        "ResponseURL": "https://answer",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Runs",
        "ResourceProperties": {"StateMachineArn": "machine", **properties},
    }
    remove_runs.handler(event, AnyContext())


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

    def noting(bucket: str) -> bool:
        delivered.append(has_policy("access-logs"))
        return empty(bucket)

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
    assert "1 objects in artifacts could not be deleted, first old: AccessDenied: Access Denied." in answer["Reason"]


def test_what_is_written_while_a_bucket_is_emptied_goes_as_well(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, last_words = remove_runs._empty, ["status.json", "report.html"]

    def emptying(bucket: str) -> bool:
        found = empty(bucket)
        if last_words:
            client("s3").put_object(Bucket=bucket, Key=last_words.pop(), Body=b"aborted")
        return found

    monkeypatch.setattr(remove_runs, "_empty", emptying)
    destroy(EmptyBuckets=["artifacts"])
    assert answers[0]["Status"] == "SUCCESS"
    assert "Versions" not in client("s3").list_object_versions(Bucket="artifacts")
