"""What a person tells a run that goes on: approve, reject, stop; and the same upload once more."""

import json
from typing import Any

import boto3
import pytest
import typer
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from cli.commands import approvals, runs
from cli.main import app
from cli.stage.deployment import Deployment
from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import CLEAN_UP, Approval, Event, RunState
from finetuning.runs.uploads import Upload
from tests.builders.runs import RUN_ID, any_status, at
from tests.unit.cli.conftest import UPLOAD, write, write_status


def finetune(*words: str) -> tuple[int, str]:
    some = typer.Typer()
    for name in ("approve", "reject", "stop"):
        some.command(name)(getattr(approvals, name))
    some.command("submit")(runs.submit)
    result = CliRunner().invoke(some, list(words), env={"COLUMNS": "200"})
    if isinstance(result.exception, FineTuningError):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def sent(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Step Functions is told."""
    told: list[dict[str, Any]] = []
    for operation in ("send_task_success", "send_task_failure", "stop_execution"):
        monkeypatch.setattr(client("stepfunctions"), operation, lambda _name=operation, **given: told.append(given))
    return told


def waiting_for_approval() -> None:
    write_status(any_status(state=RunState.RUNNING, step="ApproveDeployment"))
    approval = Approval(task_token="the-token")
    write(RunLayout(RUN_ID).approval, approval.model_dump_json())


def test_an_approval_sends_the_token_back_with_who_gave_it(sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert finetune("approve", "pirate")[0] == 0
    (answer,) = sent
    assert answer["taskToken"] == "the-token"  # pragma: allowlist secret
    assert json.loads(answer["output"])["approved_by"].startswith("arn:aws:")


def test_the_next_command_is_not_broken_in_a_narrow_terminal(sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert f"finetune watch {RUN_ID}" in CliRunner().invoke(app, ["approve", RUN_ID], env={"COLUMNS": "20"}).stdout


def test_a_rejection_is_an_error_the_run_reports_as_it_is(sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert finetune("reject", RUN_ID, "--reason", "Too costly.")[0] == 0
    (answer,) = sent
    failure = json.loads(answer["cause"])
    assert (answer["error"], failure["code"]) == ("APPROVAL_REJECTED", "APPROVAL_REJECTED")
    assert failure["message"].endswith("rejected the deployment: Too costly.")
    assert "runs/pirate-0a1b2c3d/training/finetune-dev-pirate-0a1b2c3d/output/model/" in failure["fix"]


@pytest.mark.parametrize("changes", [{"state": RunState.RUNNING}, {"step": "ApproveDeployment"}])
def test_a_run_that_does_not_wait_is_not_answered(sent: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    waiting_for_approval()
    write_status(any_status(**changes))
    with pytest.raises(FineTuningError) as caught:
        finetune("approve", RUN_ID)
    assert caught.value.code == Code.NOT_WAITING_FOR_APPROVAL
    assert sent == []


def test_an_answer_that_comes_too_late_is_told_as_such(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "TaskTimedOut", "Message": "Provided task does not exist"}}, "Send")

    waiting_for_approval()
    monkeypatch.setattr(client("stepfunctions"), "send_task_success", too_late)
    with pytest.raises(FineTuningError) as caught:
        finetune("approve", RUN_ID)
    assert caught.value.code == Code.NOT_WAITING_FOR_APPROVAL


def test_stopping_waits_for_the_clean_up_and_tells_what_it_did(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(state=RunState.RUNNING))
    cleaned = [Event(time=at(9), step=CLEAN_UP, message="Stopped the training job finetune-dev-pirate-0a1b2c3d")]
    monkeypatch.setattr(
        "time.sleep", lambda _: write_status(any_status(state=RunState.ABORTED, events=cleaned, step=CLEAN_UP))
    )
    assert finetune("stop", RUN_ID) == (0, "Stopped the training job finetune-dev-pirate-0a1b2c3d\n")
    (stopped,) = sent
    assert stopped["executionArn"] == any_status().execution_arn
    assert "finetune stop" in stopped["cause"]


def test_a_clean_up_that_says_nothing_is_not_waited_for_without_end(
    sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(state=RunState.RUNNING))
    monkeypatch.setattr("cli.stage.runs.CLEAN_UP_SECONDS", 0)
    with pytest.raises(FineTuningError) as caught:
        finetune("stop", RUN_ID)
    assert caught.value.code == Code.CLEAN_UP_LATE


def test_a_run_that_is_over_is_not_stopped(sent: list[dict[str, Any]]) -> None:
    write_status(any_status())
    assert "has already ended (succeeded)" in finetune("stop", RUN_ID)[1]
    assert sent == []


def an_execution_for(upload: Upload) -> str:
    """An execution that was started by that upload."""
    states = boto3.client("stepfunctions", region_name="us-east-1")
    succeed = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    role = "arn:aws:iam::123456789012:role/states"
    machine = states.create_state_machine(name="m", definition=json.dumps(succeed), roleArn=role)["stateMachineArn"]
    given = {"bucket": upload.bucket, "key": upload.key, "version_id": upload.version_id}
    return str(states.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"])


def test_the_same_upload_again_is_the_same_bytes_as_a_run_of_their_own(deployment: Deployment) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    key = "runs/pirate/run.json"
    first = Upload(UPLOAD, key, s3.put_object(Bucket=UPLOAD, Key=key, Body=b'{"accept_eula": true}')["VersionId"])
    s3.put_object(Bucket=UPLOAD, Key=key, Body=b'{"accept_eula": false}')
    write_status(any_status(state=RunState.FAILED, execution_arn=an_execution_for(first)))
    code, output = finetune("submit", "--again", RUN_ID, "--json")
    assert code == 0
    now = s3.get_object(Bucket=UPLOAD, Key=key)
    assert now["Body"].read() == b'{"accept_eula": true}'
    assert json.loads(output)["run_id"] == Upload(UPLOAD, key, now["VersionId"]).run_id != first.run_id


def test_an_upload_that_is_gone_cannot_be_submitted_again(deployment: Deployment) -> None:
    gone = Upload(UPLOAD, "runs/pirate/run.json", "00000000-0000-0000-0000-000000000000")
    write_status(any_status(state=RunState.FAILED, execution_arn=an_execution_for(gone)))
    with pytest.raises(FineTuningError) as caught:
        finetune("submit", "--again", RUN_ID)
    assert caught.value.code == Code.UPLOAD_NOT_FOUND


def test_submit_takes_a_path_or_a_run_and_not_both(deployment: Deployment) -> None:
    assert finetune("submit")[0] == 2
    assert finetune("submit", ".", "--again", RUN_ID)[0] == 2
