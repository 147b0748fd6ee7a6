"""SweepRuns: starts lost uploads, finishes runs that ended without a report, removes what no execution needs."""

import json
from datetime import datetime
from typing import Any

import pytest

from finetuning.errors import FineTuningError
from finetuning.handlers import sweep_runs
from finetuning.operations.run import Run
from finetuning.runs.names import Names
from finetuning.runs.status import RunState
from finetuning.runs.tags import REPLACES_TAG, TTL_TAG
from finetuning.runs.uploads import Upload, upload_of
from finetuning.settings import settings
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke, metric
from tests.builders.memory import PREFIX, MemoryStore, any_run

UPLOAD = Upload("uploads", "inbox/faq.jsonl", "v1")
RUN_ID = UPLOAD.run_id
NAMES = Names(PREFIX, RUN_ID)
EXECUTION = "arn:execution:faq"


def swept() -> dict[str, list[str]]:
    result: dict[str, list[str]] = invoke(sweep_runs, state_machine_arn="arn:machine", older_than_minutes=30)
    return result


def uploaded(cloud: FakeAws, at: datetime, key: str = UPLOAD.key, is_latest: bool = True) -> None:
    version = {"Key": key, "VersionId": "v1", "IsLatest": is_latest, "LastModified": at}

    def list_object_versions(Bucket: str, Prefix: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        return {"Versions": [version] if key.startswith(Prefix) else []}

    cloud["s3"].answers["list_object_versions"] = list_object_versions


def executed(cloud: FakeAws, status: str, ended: datetime | None = None) -> None:
    """Lets Step Functions know of an execution of the run."""
    listed = {"executionArn": EXECUTION, "startDate": hours_ago(2), "stopDate": ended}

    def list_executions(statusFilter: str, **_: Any) -> dict[str, Any]:  # noqa: N803  # boto3's names
        return {"executions": [listed] if statusFilter == status else []}

    states = cloud["stepfunctions"].answers
    states["list_executions"] = list_executions
    states["describe_execution"] = {"executionArn": EXECUTION, "status": status, "input": json.dumps(UPLOAD.event)}
    states["describe_execution"]["startDate"] = hours_ago(2)


def started(cloud: FakeAws) -> list[dict[str, Any]]:
    return cloud["stepfunctions"].requests("start_execution")


def test_an_upload_that_no_event_started_is_started_under_its_runs_name(cloud: FakeAws, memory: MemoryStore) -> None:
    uploaded(cloud, hours_ago(1))
    assert swept()["started"] == [RUN_ID]
    (request,) = started(cloud)
    assert request["name"] == RUN_ID
    assert upload_of(request["input"]) == UPLOAD


@pytest.mark.parametrize(
    ("hours", "key", "is_latest"),
    [(0.4, UPLOAD.key, True), (73, UPLOAD.key, True), (1, "inbox/deep/faq.jsonl", True), (1, UPLOAD.key, False)],
)
def test_an_upload_that_is_too_young_too_old_no_run_or_replaced_is_left_alone(
    cloud: FakeAws, memory: MemoryStore, hours: float, key: str, is_latest: bool
) -> None:
    uploaded(cloud, hours_ago(hours), key, is_latest)
    assert swept()["started"] == []
    assert not started(cloud)


def test_a_run_that_trained_on_a_fallback_type_is_not_paid_for_again(cloud: FakeAws, memory: MemoryStore) -> None:
    cloud.sagemaker.add_job(NAMES.training_job(2), TrainingJobStatus="Completed")
    uploaded(cloud, hours_ago(1))
    assert swept()["started"] == []


def test_the_job_of_a_run_whose_name_begins_with_this_runs_does_not_keep_it_from_starting(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    cloud.sagemaker.add_job(Names(PREFIX, f"{RUN_ID}-12345678").training_job(0))
    uploaded(cloud, hours_ago(1))
    assert swept()["started"] == [RUN_ID]


def test_a_part_that_fails_does_not_keep_the_sweep_from_the_others(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    left_over(cloud)
    cloud["stepfunctions"].answers["list_executions"] = lambda statusFilter, **_: (  # noqa: N803  # boto3's name
        {"executions": []} if statusFilter == "RUNNING" else _refuse()
    )
    uploaded(cloud, hours_ago(1), "inbox/other.jsonl")
    with pytest.raises(FineTuningError) as incomplete:
        swept()
    assert incomplete.value.code == "SWEEP_INCOMPLETE"
    assert "ended runs" in incomplete.value.message
    assert cloud.sagemaker.requests("stop_training_job")
    assert not started(cloud)  # an ended run that could not be claimed would be started again


def _refuse() -> Any:
    raise RuntimeError("Step Functions has an internal error")


def test_a_run_that_was_claimed_is_not_started(cloud: FakeAws, memory: MemoryStore) -> None:
    Run(RUN_ID, store=memory, prefix=PREFIX).is_owned_by(EXECUTION)
    uploaded(cloud, hours_ago(1))
    assert swept()["started"] == []


@pytest.mark.parametrize("status", ["InProgress", "Completed", "Failed"])
def test_a_run_whose_files_are_gone_but_that_was_trained_is_not_paid_for_again(
    cloud: FakeAws, memory: MemoryStore, status: str
) -> None:
    cloud.sagemaker.add_job(NAMES.training_job(0), TrainingJobStatus=status)
    uploaded(cloud, hours_ago(1))
    assert swept()["started"] == []
    assert not started(cloud)


def test_an_execution_that_exists_already_is_not_counted_as_started(cloud: FakeAws, memory: MemoryStore) -> None:
    uploaded(cloud, hours_ago(1))
    cloud["stepfunctions"].refuse("start_execution", "ExecutionAlreadyExists")
    assert swept()["started"] == []


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
def test_an_execution_that_ended_early_and_was_not_reported_is_finished(
    cloud: FakeAws, memory: MemoryStore, status: str
) -> None:
    run = any_run(memory, RUN_ID)
    executed(cloud, status, hours_ago(1))
    assert swept()["finished"] == [RUN_ID]
    assert run.status.state.is_final
    assert run.status.step == "CleanUpRun"


def test_a_run_that_was_reported_is_not_finished_again(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID).record("Failed", state=RunState.FAILED)
    executed(cloud, "FAILED", hours_ago(1))
    assert swept()["finished"] == []


@pytest.mark.parametrize("hours", [0.4, 73])
def test_an_execution_that_ended_just_now_or_long_ago_is_left_alone(
    cloud: FakeAws, memory: MemoryStore, hours: float
) -> None:
    any_run(memory, RUN_ID)
    executed(cloud, "FAILED", hours_ago(hours))
    assert swept()["finished"] == []


def test_a_run_that_died_before_it_claimed_its_upload_is_finished_and_not_started_again(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    uploaded(cloud, hours_ago(1))
    executed(cloud, "ABORTED", hours_ago(0.6))
    result = swept()
    assert (result["finished"], result["started"]) == ([RUN_ID], [])


@pytest.mark.parametrize(
    ("minutes", "redrives", "owner", "resumed"),
    [(40, 1, EXECUTION, [RUN_ID]), (20, 1, EXECUTION, []), (40, 0, EXECUTION, []), (40, 1, "arn:other", [])],
    ids=["disagrees", "may end at once", "was not redriven", "another execution's run"],
)
def test_a_run_that_was_redriven_and_shows_its_first_end_is_running_again(
    cloud: FakeAws, memory: MemoryStore, minutes: int, redrives: int, owner: str, resumed: list[str]
) -> None:
    run = any_run(memory, RUN_ID)
    run.record("", state=RunState.ABORTED, error={"code": "RUN_ABORTED"}, execution_arn=owner, redrives=1)
    memory.save(run.layout.status, run.status.model_copy(update={"updated_at": hours_ago(minutes / 60)}))
    executed(cloud, "RUNNING")
    cloud["stepfunctions"].answers["describe_execution"]["redriveCount"] = redrives
    assert swept()["resumed"] == resumed
    assert (run.status.state, run.status.error is None) == ((RunState.RUNNING, True) if resumed else ("aborted", False))


def left_over(cloud: FakeAws, run_id: str | None = RUN_ID) -> None:
    """A job in progress and an endpoint that never served, of a run or of somebody else."""
    cloud.sagemaker.add_job(NAMES.training_job(0), run_id=run_id, CreationTime=hours_ago(1))
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, run_id, status="Creating", hours_old=1)


def test_what_no_execution_works_for_is_removed(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    left_over(cloud)
    done = [f"Stopped the training job {NAMES.training_job(0)}", f"Deleted the endpoint {NAMES.endpoint}"]
    assert swept()["removed"] == done
    assert [(event.step, event.message) for event in run.status.events] == [("SweepRuns", line) for line in done]


def test_each_sweep_counts_the_jobs_in_progress(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    swept()
    assert metric(capsys.readouterr().out, "TrainingJobsRunning") == 0
    for attempt in range(2):
        cloud.sagemaker.add_job(NAMES.training_job(attempt), run_id=None, CreationTime=hours_ago(1))
    swept()
    assert metric(capsys.readouterr().out, "TrainingJobsRunning") == 2


def ended_with(cloud: FakeAws, memory: MemoryStore, state: RunState, code: str = "") -> Run:
    """A run whose execution ended that way two hours after its start, and an endpoint of its that serves since then."""
    run = any_run(memory, RUN_ID)
    run.record("", state=state, error={"code": code} if code else None, execution_arn=EXECUTION)
    executed(cloud, "ABORTED", hours_ago(73))
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, hours_old=1, tags={TTL_TAG: "never"})
    return run


@pytest.mark.parametrize("code", ["RUN_ABORTED", "RUN_TIMED_OUT"])
def test_an_endpoint_that_came_into_service_after_its_run_was_aborted_is_taken_back_and_said(
    cloud: FakeAws, memory: MemoryStore, code: str
) -> None:
    run = ended_with(cloud, memory, RunState.ABORTED, code)
    assert swept()["removed"] == [f"Deleted the endpoint {NAMES.endpoint}"]
    assert run.status.events[-1].message == f"Deleted the endpoint {NAMES.endpoint}"
    (message,) = cloud.messages()
    assert f"Deleted the endpoint {NAMES.endpoint}" in message
    assert f"finetune deploy {RUN_ID}" in message


@pytest.mark.parametrize(("state", "code"), [(RunState.SUCCEEDED, ""), (RunState.FAILED, "ENDPOINT_ANSWERS_BROKEN")])
def test_an_endpoint_of_a_run_that_was_not_aborted_stays(
    cloud: FakeAws, memory: MemoryStore, state: RunState, code: str
) -> None:
    ended_with(cloud, memory, state, code)
    assert swept()["removed"] == []
    assert cloud.sagemaker.names("endpoint") == {NAMES.endpoint}


def test_an_endpoint_that_only_a_rollback_takes_back_is_told_once(cloud: FakeAws, memory: MemoryStore) -> None:
    ended_with(cloud, memory, RunState.ABORTED, "RUN_ABORTED")
    endpoint = cloud.sagemaker.endpoint(NAMES.endpoint)
    endpoint["CreationTime"] = hours_ago(5)
    config = cloud.sagemaker.things["endpoint_config"][NAMES.endpoint_config]
    cloud.sagemaker.tags[config["EndpointConfigArn"]][REPLACES_TAG] = f"{PREFIX}-older-00000000"
    (line,) = swept()["removed"]
    assert "finetune rollback" in line
    assert swept()["removed"] == []
    assert len(list(cloud.messages())) == 1


def test_what_an_execution_works_for_stays(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    left_over(cloud)
    executed(cloud, "RUNNING")
    assert swept()["removed"] == []
    assert not cloud.sagemaker.requests("stop_training_job")


def test_what_somebody_else_made_stays(cloud: FakeAws, memory: MemoryStore) -> None:
    left_over(cloud, run_id=None)
    assert swept()["removed"] == []
    assert not cloud.sagemaker.requests("stop_training_job")
    assert cloud.sagemaker.names("endpoint") == {NAMES.endpoint}


def test_what_was_made_just_now_stays(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    cloud.sagemaker.add_job(NAMES.training_job(0))
    assert swept()["removed"] == []


def test_an_import_of_a_run_that_is_served_by_sagemaker_now_is_deleted(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_IMPORT", "true")
    settings.cache_clear()
    cloud.bedrock.add_model(f"{PREFIX}-{RUN_ID}", RUN_ID, hours_old=1)
    any_run(memory, RUN_ID).record("", state=RunState.SUCCEEDED)
    assert swept()["removed"] == [f"Deleted the imported model {PREFIX}-{RUN_ID}"]
    assert cloud.bedrock.models == {}
