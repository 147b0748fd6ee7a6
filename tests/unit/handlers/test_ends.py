"""The two functions that end a run which did not succeed: whose run it is, and what they say of it."""

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from finetuning.aws.run_store import RunStore, run_store
from finetuning.errors import Code, FineTuningError, TrainingFailed
from finetuning.handlers import clean_up_run, report_failure
from finetuning.operations.run import Run
from finetuning.report.messages import Message
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import CLEAN_UP, RunState, RunStatus
from finetuning.runs.uploads import Upload
from tests.builders.handlers import AnyContext
from tests.builders.memory import any_environment

UPLOAD = Upload("uploads", "runs/demo/run.json", "1")
EVENT = {"bucket": UPLOAD.bucket, "key": UPLOAD.key, "version_id": UPLOAD.version_id}
FIRST, SECOND = (f"arn:aws:states:us-east-1:123456789012:execution:m:{name}" for name in ("first", "second"))
FAILURE = TrainingFailed(Code.TRAINING_FAILED, "The script failed.", "Read its log.")


@pytest.fixture
def store(aws: None, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="artifacts")
    topic = boto3.client("sns", region_name="us-east-1").create_topic(Name="topic")["TopicArn"]
    for name, value in any_environment(TOPIC_ARN=topic).items():
        monkeypatch.setenv(name, value)
    return run_store()


def run_of(store: RunStore) -> Run:
    return Run(UPLOAD.run_id, store=store, prefix="finetune-dev")


def report(execution_arn: str) -> Any:
    error = {"Error": "TrainingFailed", "Cause": json.dumps({"errorMessage": str(FAILURE)})}
    event = {**EVENT, "execution_arn": execution_arn, "state": "DescribeTraining", "error": error}
    return report_failure.handler(event, AnyContext())


def clean_up(execution_arn: str, status: str, **detail: str) -> Any:
    told = {"executionArn": execution_arn, "status": status, "input": json.dumps(EVENT), **detail}
    return clean_up_run.handler({"detail": told}, AnyContext())


def status_in(store: RunStore) -> RunStatus | None:
    body = store.read(RunLayout(UPLOAD.run_id).status)
    return None if body is None else RunStatus.model_validate_json(body)


def code_in(store: RunStore) -> Any:
    status = status_in(store)
    return status and status.error and status.error["code"]


def test_a_failure_is_in_the_status_under_its_code(store: RunStore) -> None:
    answer = report(FIRST)
    assert (answer["code"], answer["message"]) == ("TRAINING_FAILED", "The script failed.")
    assert RunLayout(UPLOAD.run_id).report_page in answer["links"]["Report"]
    assert code_in(store) == "TRAINING_FAILED"


@pytest.mark.parametrize("end", [lambda: report(SECOND), lambda: clean_up(SECOND, "FAILED")])
def test_an_execution_that_came_second_does_not_touch_the_run_of_the_first(store: RunStore, end: Any) -> None:
    run_of(store).is_owned_by(FIRST)
    end()
    assert status_in(store) is None


def test_an_execution_that_dies_before_it_claimed_its_run_is_told_of_and_keeps_the_run(store: RunStore) -> None:
    clean_up(FIRST, "ABORTED")
    assert code_in(store) == "RUN_ABORTED"
    assert not run_of(store).is_owned_by(SECOND)


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT"])
def test_only_what_was_stopped_is_said_to_be(store: RunStore, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    for run, done in ((FIRST, []), (SECOND, ["Stopped the training job finetune-dev-demo"])):
        run_of(store).hand_over(run)
        store.save(RunLayout(UPLOAD.run_id).status, RunStatus.begin(UPLOAD.run_id, datetime.now(UTC)))
        monkeypatch.setattr(clean_up_run, "remove_unfinished", lambda *_, done=done: done)
        clean_up(run, status)
        told = status_in(store)
        assert told is not None
        assert told.error is not None
        assert ("Stopped the training job finetune-dev-demo." in told.error["message"]) is bool(done)
        assert ("training job" in told.error["message"]) is bool(done)
        assert [(event.step, event.message) for event in told.events] == [(CLEAN_UP, told.error["message"])]


def test_a_failure_that_could_not_be_reported_is_told_with_its_cause(store: RunStore) -> None:
    clean_up(FIRST, "FAILED", cause="StartTraining failed: X. Reporting it failed as well: Y")
    status = status_in(store)
    assert status is not None
    assert (status.state, code_in(store)) == (RunState.FAILED, "INTERNAL_ERROR")
    assert "StartTraining failed: X" in str(status.error)


@pytest.mark.parametrize("key", ["inbox/a/b.jsonl", "runs/a/b/run.json"])
def test_an_upload_in_a_folder_too_deep_is_told_of_in_a_message(
    store: RunStore, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    told: list[Message] = []
    monkeypatch.setattr(report_failure, "notify", lambda topic_arn, message: told.append(message))
    with pytest.raises(FineTuningError) as refused:
        _ = Upload("uploads", key, "1").run_id
    error = {"Error": "FineTuningError", "Cause": json.dumps({"errorMessage": str(refused.value)})}
    event = {**EVENT, "key": key, "execution_arn": FIRST, "state": "PlanRun", "error": error}
    answer = report_failure.handler(event, AnyContext())
    assert answer["code"] == "UPLOAD_NOT_FOUND"
    assert key in told[0].body
    assert "What to do: Put one data file under inbox/" in told[0].body


def test_an_execution_that_ran_out_of_time_is_told_of(store: RunStore) -> None:
    clean_up(FIRST, "TIMED_OUT")
    assert code_in(store) == "RUN_TIMED_OUT"


def test_what_was_reported_stays_as_it_was_reported(store: RunStore) -> None:
    report(FIRST)
    clean_up(FIRST, "FAILED", cause="The script failed.")
    assert code_in(store) == "TRAINING_FAILED"


def test_an_execution_that_was_started_with_no_upload_has_nothing_to_clean_up(store: RunStore) -> None:
    told = {"executionArn": FIRST, "status": "FAILED", "input": "{}"}
    assert clean_up_run.handler({"detail": told}, AnyContext()) == {"done": []}
