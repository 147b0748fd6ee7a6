"""`finetune approve` and `finetune reject`."""

import json
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
)
from typer.testing import CliRunner

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError
from finetuning.runs.status import RunState
from finetuning_cli.main import app
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import Command, waiting_for_approval, write_status
from tests.builders.runs import RUN_ID, any_status


def test_an_approval_sends_the_token_back_with_who_gave_it(finetune: Command, sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert finetune("approve", "pirate")[0] == 0
    (answer,) = sent
    assert answer["taskToken"] == "the-token"  # pragma: allowlist secret
    assert json.loads(answer["output"])["approved_by"].startswith("arn:aws:")


def test_the_next_command_is_not_wrapped_in_a_narrow_terminal(sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert f"finetune watch {RUN_ID}" in CliRunner().invoke(app, ["approve", RUN_ID], env={"COLUMNS": "20"}).stdout


def test_a_rejection_carries_its_reason_and_the_fix_to_the_run(finetune: Command, sent: list[dict[str, Any]]) -> None:
    waiting_for_approval()
    assert finetune("reject", RUN_ID, "--reason", "Too costly.")[0] == 0
    (answer,) = sent
    failure = json.loads(answer["cause"])
    assert (answer["error"], failure["code"]) == ("APPROVAL_REJECTED", "APPROVAL_REJECTED")
    assert failure["message"].endswith("rejected the deployment: Too costly.")
    assert "runs/pirate-0a1b2c3d/training/finetune-dev-pirate-0a1b2c3d/output/model/" in failure["fix"]


@pytest.mark.parametrize("changes", [{"state": RunState.RUNNING}, {"step": "ApproveDeployment"}])
def test_a_run_that_does_not_wait_for_approval_gets_no_answer(
    finetune: Command, sent: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    waiting_for_approval()
    write_status(any_status(**changes))
    with pytest.raises(FineTuningError) as caught:
        finetune("approve", RUN_ID)
    assert caught.value.code == Code.NOT_WAITING_FOR_APPROVAL
    assert sent == []


def test_an_answer_that_comes_too_late_is_an_error_of_its_own(
    finetune: Command, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "TaskTimedOut", "Message": "Provided task does not exist"}}, "Send")

    waiting_for_approval()
    monkeypatch.setattr(client("stepfunctions"), "send_task_success", too_late)
    with pytest.raises(FineTuningError) as caught:
        finetune("approve", RUN_ID)
    assert caught.value.code == Code.NOT_WAITING_FOR_APPROVAL
