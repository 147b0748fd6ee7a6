"""CleanUpRun: after an execution that was aborted, timed out or failed without a report."""

import json
from typing import Any

import pytest

from finetuning.handlers import clean_up_run
from finetuning.operations.run import Run
from finetuning.runs.names import Names
from finetuning.runs.status import CLEAN_UP, RunState
from finetuning.runs.tags import REPLACES_TAG, TTL_TAG
from finetuning.runs.uploads import Upload
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke, metric
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import any_plan

UPLOAD = Upload("uploads", "runs/demo/run.json", "1")
RUN_ID = UPLOAD.run_id
NAMES = Names(PREFIX, RUN_ID)
FIRST, SECOND = (f"arn:aws:states:us-east-1:123456789012:execution:m:{name}" for name in ("first", "second"))


BEGAN = hours_ago(0.5)
"""When the execution began; `add_endpoint` makes an endpoint that is an hour old."""


def cleaned_up(status: str = "ABORTED", execution_arn: str = FIRST, **detail: Any) -> list[str]:
    """What is done after an execution of the run that ended with that status."""
    ended: dict[str, Any] = {
        "executionArn": execution_arn,
        "status": status,
        "input": json.dumps(UPLOAD.event),
        **detail,
    }
    ended["startDate"] = round(BEGAN.timestamp() * 1000)
    done: list[str] = invoke(clean_up_run, detail=ended)["done"]
    return done


@pytest.mark.parametrize(
    ("status", "state", "code"),
    [
        ("ABORTED", RunState.ABORTED, "RUN_ABORTED"),
        ("TIMED_OUT", RunState.FAILED, "RUN_TIMED_OUT"),
        ("FAILED", RunState.FAILED, "INTERNAL_ERROR"),
    ],
)
def test_the_runs_end_is_in_its_status_a_message_and_a_metric(
    cloud: FakeAws,
    memory: MemoryStore,
    capsys: pytest.CaptureFixture[str],
    status: str,
    state: RunState,
    code: str,
) -> None:
    run = any_run(memory, RUN_ID)
    cleaned_up(status)
    error = run.status.error
    assert error is not None
    assert (run.status.state, error["code"]) == (state, code)
    assert [event.step for event in run.status.events] == [CLEAN_UP]
    assert metric(capsys.readouterr().out, "RunFailed") == 1
    (message,) = cloud.messages()
    assert str(error["message"]) in message
    assert memory.read(run.layout.report_page)


def test_a_failure_that_nobody_reported_is_reported_with_its_cause(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    cleaned_up("FAILED", cause="StartTraining failed: X. Reporting it failed as well: Y")
    assert "StartTraining failed: X" in str(run.status.error)


def test_a_redeployment_that_takes_over_during_the_clean_up_is_not_reported_as_failed(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = any_run(memory, RUN_ID)
    run.record("", state=RunState.FAILED)

    def taken_over(*_: object) -> list[str]:
        assert run.take_over(SECOND)
        return []

    monkeypatch.setattr(clean_up_run, "remove_unfinished", taken_over)
    cleaned_up("FAILED")
    assert (run.status.state, run.status.error) == (RunState.RUNNING, None)


def test_jobs_and_temporary_endpoints_are_removed_and_said(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    for attempt in (0, 1):
        cloud.sagemaker.add_job(NAMES.training_job(attempt))
    for name in (NAMES.base, NAMES.candidate):
        cloud.sagemaker.add_endpoint(name, name, RUN_ID)
    done = cleaned_up()
    assert done == [
        f"Stopped the training job {NAMES.training_job(0)}",
        f"Stopped the training job {NAMES.training_job(1)}",
        f"Deleted the endpoint {NAMES.candidate}",
        f"Deleted the endpoint {NAMES.base}",
    ]
    assert all(f"{line}." in str(run.status.error) for line in done)


def test_only_what_was_stopped_is_said_to_be(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    cloud.sagemaker.add_job(NAMES.training_job(0), TrainingJobStatus="Completed")
    assert cleaned_up() == []
    assert "training job" not in str(run.status.error)


@pytest.mark.parametrize(
    ("status", "removed"),
    [("Creating", True), ("Failed", True), ("InService", False), ("Updating", False), ("RollingBack", False)],
)
def test_the_runs_own_endpoint_is_removed_only_where_it_never_served(
    cloud: FakeAws, memory: MemoryStore, status: str, removed: bool
) -> None:
    any_run(memory, RUN_ID)
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, status=status)
    cleaned_up()
    assert (NAMES.endpoint not in cloud.sagemaker.names("endpoint")) is removed


@pytest.mark.parametrize("status", ["Creating", "Failed"])
def test_an_endpoint_of_the_same_name_that_another_run_is_creating_stays(
    cloud: FakeAws, memory: MemoryStore, status: str
) -> None:
    run = any_run(memory, RUN_ID, endpoint=any_plan().endpoint.model_dump() | {"name": "faq"})
    other = f"{PREFIX}-other-00000000"
    cloud.sagemaker.add_endpoint(run.names.endpoint, other, "other-00000000", status=status)
    assert cleaned_up() == []
    assert cloud.sagemaker.names("endpoint") == {run.names.endpoint}
    assert cloud.sagemaker.names("endpoint_config") == {other}


@pytest.mark.parametrize("ended", ["ABORTED", "TIMED_OUT"])
@pytest.mark.parametrize("status", ["InService", "SystemUpdating"])
def test_an_endpoint_that_the_execution_created_is_taken_back_and_said(
    cloud: FakeAws, memory: MemoryStore, ended: str, status: str
) -> None:
    run = any_run(memory, RUN_ID)
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, hours_old=0.2, status=status)
    assert cleaned_up(ended) == [f"Deleted the endpoint {NAMES.endpoint}"]
    assert not cloud.sagemaker.names("endpoint")
    assert f"Deleted the endpoint {NAMES.endpoint}." in str(run.status.error)


def test_an_endpoint_that_serves_another_run_is_not_taken_back(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    cloud.sagemaker.add_endpoint(NAMES.endpoint, f"{PREFIX}-later-00000000", "later-00000000", hours_old=0.2)
    assert cleaned_up() == []


def test_an_endpoint_whose_earlier_model_was_replaced_stays_and_the_rollback_is_named(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory, RUN_ID)
    replaces = {REPLACES_TAG: f"{PREFIX}-older-00000000"}
    live = cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, config_tags=replaces)
    live["LastModifiedTime"] = hours_ago(0)
    (line,) = cleaned_up()
    assert f"finetune rollback {NAMES.endpoint} --stage dev" in line
    assert cloud.sagemaker.names("endpoint") == {NAMES.endpoint}


def test_an_endpoint_of_a_run_that_failed_without_a_report_expires(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, hours_old=0.2, tags={TTL_TAG: "never"})
    (line,) = cleaned_up("FAILED")
    assert "expires 8 hours after its deployment" in line
    assert cloud.sagemaker.tags_of("endpoint", NAMES.endpoint)[TTL_TAG] == "8"


def test_a_run_that_was_reported_keeps_its_report(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    run.record("Failed", state=RunState.FAILED, error={"code": "TRAINING_FAILED", "message": "Failed", "fix": ""})
    cloud.sagemaker.add_job(NAMES.training_job(0))
    (line,) = cleaned_up("FAILED", cause="The script failed.")
    assert run.status.error == {"code": "TRAINING_FAILED", "message": "Failed", "fix": ""}
    assert (run.status.events[-1].step, run.status.events[-1].message) == (CLEAN_UP, line)
    assert not list(cloud.messages())


def test_an_execution_that_came_second_does_not_touch_the_run_of_the_first(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    run.is_owned_by(FIRST)
    cloud.sagemaker.add_job(NAMES.training_job(0))
    assert cleaned_up(execution_arn=SECOND) == []
    assert run.status.error is None
    assert not cloud.sagemaker.calls


def test_an_execution_that_dies_before_it_claimed_its_run_is_reported_and_keeps_the_run(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    cleaned_up()
    run = Run(RUN_ID, store=memory, prefix=PREFIX)
    assert run.status.state is RunState.ABORTED
    assert not run.is_owned_by(SECOND)


def test_a_run_that_was_redriven_since_is_not_cleaned_up(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    cloud.sagemaker.add_job(NAMES.training_job(0))
    cloud["stepfunctions"].answers["describe_execution"] = {"status": "RUNNING", "redriveCount": 1}
    assert cleaned_up() == []
    assert run.status.state is RunState.RUNNING
    assert not cloud.sagemaker.calls


def test_an_end_that_step_functions_does_not_show_yet_is_cleaned_up(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    cloud["stepfunctions"].answers["describe_execution"] = {"status": "RUNNING", "redriveCount": 1}
    cleaned_up(redriveCount=1)
    assert run.status.state is RunState.ABORTED


def test_an_execution_that_was_started_with_no_upload_has_nothing_to_clean_up(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    ended = {"executionArn": FIRST, "status": "FAILED", "input": "{}"}
    assert invoke(clean_up_run, detail=ended) == {"done": []}
    assert memory.objects == {}
