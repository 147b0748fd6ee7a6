"""The executions of a state machine."""

import json
from datetime import timedelta
from typing import Any

import pytest

from finetuning.aws.step_functions import executions
from finetuning.errors import FineTuningError
from finetuning.runs.uploads import Upload
from finetuning.runs.waiting import Execution
from tests.builders.aws import FakeAws, hours_ago

MACHINE = "arn:machine"
UPLOAD = Upload("uploads", "inbox/faq.jsonl", "v1")


def listed(cloud: FakeAws, **by_status: list[tuple[str, Any]]) -> None:
    """Lets executions be there: by status, `(arn, start or end)`."""

    def list_executions(stateMachineArn: str, statusFilter: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        assert stateMachineArn == MACHINE
        found = by_status.get(statusFilter, [])
        return {"executions": [{"executionArn": arn, "startDate": at, "stopDate": at} for arn, at in found]}

    cloud["stepfunctions"].answers["list_executions"] = list_executions


def test_those_that_run_have_their_start(cloud: FakeAws) -> None:
    at = hours_ago(1)
    listed(cloud, RUNNING=[("arn:1", at)], FAILED=[("arn:2", at)])
    assert executions(MACHINE).running() == [Execution(at, "arn:1")]


def test_those_that_ended_early_in_a_time_are_found_in_every_status(cloud: FakeAws) -> None:
    now = hours_ago(0)
    listed(
        cloud,
        # By their start, as AWS may sort them: one that has run for days comes after those that ended long ago.
        ABORTED=[("young", now), ("old", hours_ago(80)), ("aborted", hours_ago(2)), ("older", hours_ago(90))],
        TIMED_OUT=[("timed out", hours_ago(1))],
        FAILED=[("failed", hours_ago(3))],
        SUCCEEDED=[("succeeded", hours_ago(2))],
    )
    found = list(executions(MACHINE).ended_early(now - timedelta(hours=72), now - timedelta(minutes=30)))
    assert found == ["aborted", "timed out", "failed"]


@pytest.mark.parametrize(
    ("given", "upload"),
    [
        (UPLOAD.event, UPLOAD),
        (Upload("uploads", "elsewhere", "v1").event, None),
        ({"by": "hand"}, None),
    ],
)
def test_the_upload_of_an_execution_is_in_its_input(cloud: FakeAws, given: Any, upload: Upload | None) -> None:
    cloud["stepfunctions"].answers["describe_execution"] = {"input": json.dumps(given)}
    assert executions(MACHINE).upload("arn:1") == upload


def test_an_upload_is_started_under_the_name_of_its_run(cloud: FakeAws) -> None:
    assert executions(MACHINE).start(UPLOAD)
    (request,) = cloud["stepfunctions"].requests("start_execution")
    assert (request["stateMachineArn"], request["name"]) == (MACHINE, UPLOAD.run_id)
    assert json.loads(request["input"]) == UPLOAD.event


def test_a_run_that_was_started_before_is_not_started(cloud: FakeAws) -> None:
    cloud["stepfunctions"].refuse("start_execution", "ExecutionAlreadyExists")
    assert executions(MACHINE).start(UPLOAD) is False


def test_a_refusal_to_start_is_an_error(cloud: FakeAws) -> None:
    cloud["stepfunctions"].refuse("start_execution", "AccessDeniedException")
    with pytest.raises(FineTuningError, match=UPLOAD.run_id):
        executions(MACHINE).start(UPLOAD)
