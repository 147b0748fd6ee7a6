"""What every handler has in common."""

import io
import json
import os
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError

from finetuning.errors import DatasetRefused, FineTuningError, TransientAwsError
from finetuning.handlers.step import (
    Payload,
    function,
    logger,
    measure,
    measure_failure,
    set_run_context,
    step,
)
from finetuning.metrics import ProductMetric
from finetuning.operations.run import Run
from finetuning.runs.status import RunState
from finetuning.runs.uploads import Upload
from tests.builders.handlers import AnyContext, dimensions_of, log_lines, metrics_in
from tests.builders.memory import MemoryStore, any_environment, any_run
from tests.builders.runs import START

RUN = {"run_id": "faq-0123abcd"}


@pytest.fixture(autouse=True)
def store(memory: MemoryStore) -> MemoryStore:
    return memory


def test_a_result_passes_through() -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        return {"seen": run.run_id}

    assert handler({"run_id": "faq-0123abcd"}, AnyContext()) == {"seen": "faq-0123abcd"}


def test_the_run_is_the_one_of_the_upload_where_the_payload_has_no_run_id(store: MemoryStore) -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        return {"seen": run.run_id}

    upload = Upload("uploads", "runs/faq/run.json", "v1")
    event = {"bucket": upload.bucket, "key": upload.key, "version_id": upload.version_id}
    assert handler(event, AnyContext()) == {"seen": upload.run_id}
    with pytest.raises(FineTuningError, match="neither inbox"):
        handler({**event, "key": "elsewhere/faq.jsonl"}, AnyContext())


def test_a_run_records_its_events_under_the_name_of_the_handlers_module(store: MemoryStore) -> None:
    def handle(run: Run, event: Payload) -> Payload:
        return {"step": run.record("Done").step}

    handle.__module__ = "finetuning.handlers.start_training"
    assert step(handle)(RUN, AnyContext()) == {"step": "StartTraining"}


EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:m:faq"


def called_by(execution_arn: str, redrives: int) -> str:
    """A step of the run of `RUN`; returns the run's state as the step found it."""

    @step
    def handler(run: Run, event: Payload) -> Payload:
        return {"state": run.status.state}

    event = {**RUN, "execution_arn": execution_arn, "redrives": redrives}
    return str(handler(event, AnyContext())["state"])


def aborted(store: MemoryStore) -> Run:
    run = any_run(store, RUN["run_id"])
    run.record(
        "", state=RunState.ABORTED, error={"code": "RUN_ABORTED"}, execution_arn=EXECUTION, endpoint_wait_began=START
    )
    return run


def test_the_first_step_after_a_redrive_sets_the_run_to_running(store: MemoryStore) -> None:
    run = aborted(store)
    assert called_by(EXECUTION, redrives=1) == "running"
    assert (run.status.error, run.status.endpoint_wait_began) == (None, None)
    assert [event.message for event in run.status.events] == ["The execution was redriven: the run continues"]


def test_a_run_whose_first_step_never_began_can_be_redriven(store: MemoryStore) -> None:
    any_run(store, RUN["run_id"]).record("", state=RunState.ABORTED, execution_arn="")
    assert called_by(EXECUTION, redrives=1) == "running"


def test_a_step_that_begins_late_after_a_redriven_execution_was_aborted_changes_nothing(store: MemoryStore) -> None:
    run = aborted(store)
    assert called_by(EXECUTION, redrives=0) == "aborted"
    called_by(EXECUTION, redrives=1)
    run.record("", state=RunState.ABORTED)
    assert [called_by(EXECUTION, redrives=1), called_by(EXECUTION, redrives=2)] == ["aborted", "running"]


def test_a_redriven_execution_does_not_work_on_a_run_that_another_one_has_deployed_again(store: MemoryStore) -> None:
    run = aborted(store)
    run.record("", state=RunState.SUCCEEDED, execution_arn="arn:redeployment")
    with pytest.raises(FineTuningError, match="arn:redeployment") as refused:
        called_by(EXECUTION, redrives=1)
    assert refused.value.code == "RUN_ABORTED"
    assert run.status.state is RunState.SUCCEEDED


def test_the_bare_function_of_a_handler_can_be_called(store: MemoryStore) -> None:
    def handle(run: Run, event: Payload) -> Payload:
        return {"seen": run.run_id}

    assert step(handle).__wrapped__ is handle


def test_a_typed_failure_is_logged_with_its_code_and_the_run_and_raised_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        raise DatasetRefused("line 7 is not JSON", "Fix it.")

    output = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", output)
    with pytest.raises(DatasetRefused):
        handler({"run_id": "faq-0123abcd"}, AnyContext())
    logged = next(line for line in log_lines(output.getvalue()) if line.get("level") == "WARNING")
    assert logged["run_id"] == "faq-0123abcd"
    assert logged["error"]["code"] == "DATASET_REFUSED"


def test_throttling_gets_the_name_the_state_machine_retries() -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "DescribeTrainingJob")

    with pytest.raises(TransientAwsError):
        handler(RUN, AnyContext())


def test_a_step_writes_its_metrics_as_one_line_with_the_run_beside_them_and_not_as_a_dimension(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        measure({ProductMetric.DATASET_ROWS_KEPT: 38, ProductMetric.DATASET_ROWS_REFUSED: 0})
        return {}

    handler({"run_id": "faq-0123abcd"}, AnyContext())
    (line,) = metrics_in(capsys.readouterr().out)
    assert (line["run_id"], line["DatasetRowsKept"], line["DatasetRowsRefused"]) == ("faq-0123abcd", [38], [0])
    assert "StepDuration" in line
    assert dimensions_of(line) <= {"service", "step"}


def test_a_run_is_on_every_line_once_a_step_knows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @function
    def handler(event: Payload) -> Payload:
        set_run_context("faq-0123abcd")
        logger.info("The run is known")
        return {}

    output = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", output)
    handler({"bucket": "uploads"}, AnyContext())
    lines = log_lines(output.getvalue()) + metrics_in(capsys.readouterr().out)
    assert [line["run_id"] for line in lines] == ["faq-0123abcd"] * 2


def test_one_call_s_run_is_not_the_next_call_s(capsys: pytest.CaptureFixture[str]) -> None:
    @function
    def handler(event: Payload) -> Payload:
        if event:
            set_run_context(event["run_id"])
        return {}

    for event in ({"run_id": "faq-0123abcd"}, {}):
        handler(event, AnyContext())
    first, second = metrics_in(capsys.readouterr().out)
    assert (first.get("run_id"), second.get("run_id")) == ("faq-0123abcd", None)


def test_what_is_not_known_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        measure({ProductMetric.TRAINING_ESTIMATED_USD: None})
        return {}

    handler(RUN, AnyContext())
    assert "TrainingEstimatedUsd" not in metrics_in(capsys.readouterr().out)[0]


def test_a_refusal_and_a_defect_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    @step
    def handler(run: Run, event: Payload) -> Payload:
        raise event["error"]

    for error in (DatasetRefused("line 7 is not JSON", "Fix it."), KeyError("task")):
        with pytest.raises(type(error)):
            handler(RUN | {"error": error}, AnyContext())
    refused, failed = metrics_in(capsys.readouterr().out)
    assert ("StepRefused" in refused, "StepFailed" in refused) == (True, False)
    assert ("StepRefused" in failed, "StepFailed" in failed) == (False, True)


def test_a_failed_run_is_counted_by_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    measure_failure("DATASET_REFUSED", "faq-0123abcd")
    (line,) = metrics_in(capsys.readouterr().out)
    assert (line["RunFailed"], line["code"], line["run_id"]) == ([1], "DATASET_REFUSED", "faq-0123abcd")
    assert "code" in dimensions_of(line)
    assert "run_id" not in dimensions_of(line)


TRACED = """
from aws_xray_sdk.core import xray_recorder
from finetuning.handlers.step import step
from tests.builders.handlers import AnyContext

class Printer:
    def send_entity(self, entity):
        print("TRACE", entity.serialize())

xray_recorder.configure(emitter=Printer())
step(lambda run, event: {})({"run_id": "faq-0123abcd"}, AnyContext())
"""


def test_a_trace_can_be_found_by_its_run() -> None:
    """In a process of its own: Powertools traces only where it is started as by Lambda."""
    as_lambda_does = {
        "LAMBDA_TASK_ROOT": "/var/task",
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "POWERTOOLS_SERVICE_NAME": "finetune-dev",
        **any_environment(),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    said = subprocess.run([sys.executable, "-c", TRACED], env=as_lambda_does, capture_output=True, text=True)
    (trace,) = [json.loads(line.removeprefix("TRACE ")) for line in said.stdout.splitlines() if "TRACE" in line]
    assert trace["annotations"]["run_id"] == "faq-0123abcd"
    assert trace["annotations"]["Service"] == "finetune-dev"
