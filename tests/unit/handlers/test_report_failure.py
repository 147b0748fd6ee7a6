"""ReportFailure: what a failed run says, costs and leaves behind."""

import json
from typing import Any

import pytest

from finetuning.datasets.detection import detect
from finetuning.datasets.options import DataOptions
from finetuning.datasets.preparation import SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.errors import Code, FineTuningError, TrainingFailed
from finetuning.handlers import report_failure, sweep_endpoints
from finetuning.jumpstart.family import Task
from finetuning.operations.run import Run
from finetuning.runs.names import Names
from finetuning.runs.status import RunState
from finetuning.runs.uploads import Upload
from finetuning.settings import settings
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.datasets import as_parquet
from tests.builders.handlers import invoke, metric, metrics_in
from tests.builders.imports import imported_run, serve
from tests.builders.memory import PREFIX, MemoryStore, any_run

UPLOAD = Upload("uploads", "runs/demo/run.json", "1")
RUN_ID = UPLOAD.run_id
NAMES = Names(PREFIX, RUN_ID)
FIRST, SECOND = (f"arn:aws:states:us-east-1:123456789012:execution:m:{name}" for name in ("first", "second"))
FAILURE = TrainingFailed(Code.TRAINING_FAILED, "The script failed.", "Read its log.")


def reported(raised: FineTuningError = FAILURE, **event: Any) -> dict[str, Any]:
    """The answer to the failure of a step of the first execution."""
    upload = {"bucket": UPLOAD.bucket, "key": UPLOAD.key, "version_id": UPLOAD.version_id}
    caught = {"Error": "TrainingFailed", "Cause": json.dumps({"errorMessage": str(raised)})}
    given = {**upload, "execution_arn": FIRST, "state": "DescribeTraining", "error": caught, **event}
    answer: dict[str, Any] = invoke(report_failure, given)
    return answer


def test_the_failure_is_in_the_status_and_the_answer_under_its_code(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    answer = reported()
    assert (answer["code"], answer["message"]) == ("TRAINING_FAILED", "The script failed.")
    status = run.status
    assert (status.state, status.step) == (RunState.FAILED, "DescribeTraining")
    assert status.error is not None
    assert (status.error["code"], status.error["fix"]) == ("TRAINING_FAILED", "Read its log.")
    assert status.execution_arn == FIRST


def test_the_event_about_the_end_has_step_and_code(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, RUN_ID)
    event = reported()["event"]
    assert (event["run_id"], event["state"]) == (RUN_ID, "failed")
    assert (event["failed_step"], event["error_code"]) == ("DescribeTraining", "TRAINING_FAILED")


def test_the_page_is_written_and_the_message_links_it(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    answer = reported()
    assert run.layout.report_page in answer["links"]["Report"]
    assert b"The script failed." in (memory.read(run.layout.report_page) or b"")
    (message,) = cloud.messages()
    assert "The script failed." in message
    assert memory.link(run.layout.report_page, 12) in message


def test_the_run_is_counted_by_its_code(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    any_run(memory, RUN_ID)
    reported()
    output = capsys.readouterr().out
    assert metric(output, "RunFailed") == 1
    assert [line["code"] for line in metrics_in(output) if "RunFailed" in line] == ["TRAINING_FAILED"]


def test_what_the_run_left_unfinished_is_removed_and_said(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    cloud.sagemaker.add_job(NAMES.training_job(0))
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, status="Creating")
    reported()
    assert cloud.sagemaker.names("endpoint") == set()
    assert cloud.sagemaker.describe_training_job(TrainingJobName=NAMES.model)["TrainingJobStatus"] == "Stopping"
    assert [(event.step, event.message) for event in run.status.events[:2]] == [
        ("ReportFailure", f"Stopped the training job {NAMES.training_job(0)}"),
        ("ReportFailure", f"Deleted the endpoint {NAMES.endpoint}"),
    ]


def test_an_endpoint_that_serves_the_failed_runs_model_gets_an_end_and_the_message_says_so(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory, RUN_ID).record("", started_at=hours_ago(2))
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, tags={"finetune:ttl-hours": "never"})
    reported()
    assert cloud.sagemaker.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "8"
    (message,) = cloud.messages()
    assert NAMES.endpoint in message


def test_a_redeployment_that_is_refused_or_rejected_leaves_the_endpoint_that_serves(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    """It has served for weeks: eight hours after its deployment are over, and the next sweep would delete it."""
    run = any_run(memory, RUN_ID)
    run.record("Deploying the model of this run again", redeployed_at=hours_ago(0))
    ttl = {"finetune:ttl-hours": "never", "finetune:idle-minutes": "never"}
    cloud.sagemaker.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, RUN_ID, tags=ttl, hours_old=500)
    reported()
    invoke(sweep_endpoints)
    assert cloud.sagemaker.names("endpoint") == {NAMES.endpoint}
    assert "expires" not in str([event.message for event in run.status.events])


def test_a_redeployment_that_is_refused_leaves_the_imported_model_that_serves(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_IMPORT", "true")
    settings.cache_clear()
    run = imported_run(memory, RUN_ID, ttl_hours="never")
    arn = cloud.bedrock.add_model(NAMES.imported_model, RUN_ID, hours_old=500, tags={"finetune:ttl-hours": "never"})
    serve(memory, NAMES.endpoint, arn, RUN_ID)
    run.record("Deploying the model of this run again", redeployed_at=hours_ago(0))
    reported()
    invoke(sweep_endpoints)
    assert cloud.bedrock.names() == [NAMES.imported_model]


def test_a_run_that_failed_before_it_was_planned_is_reported(cloud: FakeAws, memory: MemoryStore) -> None:
    assert reported()["code"] == "TRAINING_FAILED"
    assert Run(RUN_ID, store=memory, prefix=PREFIX).status.state is RunState.FAILED


def test_an_execution_that_came_second_does_not_touch_the_run_of_the_first(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    run.is_owned_by(FIRST)
    before = run.status
    cloud.sagemaker.add_job(NAMES.training_job(0))
    assert reported(execution_arn=SECOND) == {"code": "TRAINING_FAILED", "message": "The script failed."}
    assert run.status == before
    assert not cloud.sagemaker.calls
    assert not list(cloud.messages())


@pytest.mark.parametrize("key", ["inbox/a/b.jsonl", "runs/a/b/run.json"])
def test_an_upload_that_is_no_run_is_reported_in_a_message_alone(cloud: FakeAws, memory: MemoryStore, key: str) -> None:
    with pytest.raises(FineTuningError) as refused:
        _ = Upload("uploads", key, "1").run_id
    answer = reported(refused.value, key=key, state="PlanRun")
    assert answer["code"] == "UPLOAD_NOT_FOUND"
    assert "event" not in answer  # no run has ended
    (message,) = cloud.messages()
    assert key in message
    assert "Upload one data file to inbox/" in message
    assert memory.objects == {}


KILLED = {"errorType": "Runtime.ExitError", "errorMessage": "Runtime exited with error: signal: killed"}


def killed(shard: int | None = None) -> dict[str, str]:
    cause = json.dumps(KILLED)
    beside = json.dumps({"errorMessage": cause, "shard": shard})
    return {"Error": "Runtime.ExitError", "Cause": cause if shard is None else beside}


def test_a_shard_that_was_killed_names_its_file_and_what_helps(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, RUN_ID)
    files = [(name, detect(body, name, 9)) for name, body in (("a.jsonl", b'{"text": "a"}\n'), ("b.csv", b"text\na\n"))]
    source = tuple(SourceFile(name=name, key=name, size=9, detection=detection) for name, detection in files)
    resolution = resolve(files, DataOptions(), supported=frozenset(Task))
    run.store.save(run.layout.preparation, prepare(source, resolution, DataOptions()))
    for shard, name, helps in ((0, "a.jsonl", "shard_bytes"), (1, "b.csv", "Split it into several files")):
        reported(state="PrepareShard", error=killed(shard))
        assert run.status.error is not None
        assert run.status.error["code"] == "STEP_OUT_OF_MEMORY"
        assert f"while it read {name}" in run.status.error["message"]
        assert helps in run.status.error["fix"]


def test_a_step_that_reads_all_files_names_them_and_one_that_reads_none_does_not(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = any_run(memory, RUN_ID)
    reported(state="FinishDataset", error=killed())
    assert run.status.error is not None
    assert "while it read chat.jsonl" in run.status.error["message"]
    reported(state="DeployEndpoint", error=killed())
    assert run.status.error is not None
    assert "chat.jsonl" not in run.status.error["message"]


def test_reading_parquet_names_the_parquet_files_alone(cloud: FakeAws, memory: MemoryStore) -> None:
    parquet = detect(as_parquet([{"text": "a"}]), "b.parquet", 9).model_dump()
    files = [{"key": f"runs/demo/{name}", "version_id": "1", "size": 9, "etag": "e"} for name in ("a.csv", "b.parquet")]
    run = any_run(memory, RUN_ID, data_files=[files[0], {**files[1], "detection": parquet}])
    reported(state="ReframeParquet", error=killed())
    assert run.status.error is not None
    assert "while it read b.parquet and was killed" in run.status.error["message"]
