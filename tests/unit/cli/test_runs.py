"""`finetune runs` and `finetune deploy`; finding a run."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.operations.run import Run
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import Metric, RunState, RunStatus, Verdict
from finetuning.runs.uploads import Upload
from finetuning_cli.main import app
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.runs import find_run, list_runs, redeploy
from tests.builders.cli import Command, waiting_for_approval, write, write_status
from tests.builders.runs import RUN_ID, any_plan, any_status, at

OURS = f"arn:aws:states:us-east-1:123456789012:execution:machine:{RUN_ID}-again"
"""The execution that `finetune deploy` starts."""


def test_a_run_is_found_by_its_id_or_as_the_latest_of_an_uploads_name(deployment: Deployment) -> None:
    write_status(any_status(run_id="pirate-00000001", started_at=at(0)))
    write_status(any_status(run_id="pirate-00000002", started_at=at(60)))
    write_status(any_status(run_id="pirate-ship-00000003", started_at=at(90)))
    assert find_run(deployment, "pirate-00000001").run_id == "pirate-00000001"
    assert find_run(deployment, "pirate").run_id == "pirate-00000002"
    assert [status.run_id[-1] for status in list_runs(deployment)] == ["3", "2", "1"]


def test_to_find_a_run_by_its_name_the_others_are_not_read(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["faq-0a1b2c3d", "pirate-0a1b2c3d", "pirate-1a1b2c3d", "pirate-faq-0a1b2c3d"]
    for hours, run_id in enumerate(ids):
        write_status(any_status(run_id=run_id, started_at=at(-hours * 3600)))
    read, find_status = list[str](), Run.find_status

    def watched(run: Run) -> RunStatus | None:
        read.append(run.run_id)
        return find_status(run)

    monkeypatch.setattr(Run, "find_status", watched)
    assert find_run(deployment, "pirate").run_id == "pirate-0a1b2c3d"
    assert sorted(read) == ["pirate", "pirate-0a1b2c3d", "pirate-1a1b2c3d"]


def test_an_unknown_run_is_an_error(deployment: Deployment) -> None:
    with pytest.raises(FineTuningError) as caught:
        find_run(deployment, "nobody")
    assert caught.value.code == Code.RUN_NOT_FOUND


def test_runs_are_listed_with_state_and_cost(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status(verdict=Verdict.HELPED))
    _, output = finetune("runs")
    assert RUN_ID in output
    assert "helped" in output
    assert "38.75 USD" in output
    (listed,) = json.loads(finetune("runs", "--json")[1])
    assert listed["state"] == "succeeded"


@pytest.mark.parametrize("width", [60, 120])
def test_a_run_that_waits_for_approval_and_the_losses_are_shown(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    waiting_for_approval()
    metrics = [
        Metric(name=name, value=value, time=at(second))
        for second, (name, value) in enumerate([("train:loss", 4.0), ("eval:loss", 3.5), ("eval:loss", 1.25)])
    ]
    write_status(any_status(run_id="pirate-00000002", metrics=metrics))
    shown = CliRunner().invoke(app, ["runs"], env={"COLUMNS": str(width)}).stdout
    assert "waits for approval" in " ".join(shown.split())
    assert "3.50 → 1.25" in " ".join(shown.split())
    assert RUN_ID in shown
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize(("ended", "code"), [("SUCCEEDED", Code.RUN_STILL_RUNNING), ("FAILED", Code.RUN_NOT_STARTED)])
def test_deploy_does_not_wait_for_an_execution_that_ended_before_it_took_the_run(
    ended: str, code: Code, deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status())
    monkeypatch.setattr("finetuning_cli.stage.runs.redeploy", lambda *_: OURS)
    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", lambda arn: ended)
    with pytest.raises(FineTuningError) as caught:
        finetune("deploy", RUN_ID)
    assert caught.value.code == code


def test_deploy_prints_the_command_that_follows_the_run(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(execution_arn=OURS))
    monkeypatch.setattr("finetuning_cli.stage.runs.redeploy", lambda *_: OURS)
    # The failure comes later, and is recorded in the run.
    monkeypatch.setattr("finetuning_cli.stage.runs.execution_status", lambda arn: "FAILED")
    assert f"finetune watch {RUN_ID} --stage dev" in finetune("deploy", RUN_ID)[1]


def test_no_runs_yet_is_said_with_the_command_that_starts_one(deployment: Deployment, finetune: Command) -> None:
    assert finetune("runs")[1] == "No runs yet. Start one with: finetune submit DIR\n"


def test_deploy_starts_an_execution_for_the_same_upload(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status())
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    started: list[dict[str, Any]] = []

    def start_execution(**request: Any) -> dict[str, str]:
        started.append(request)
        return {"executionArn": OURS}

    monkeypatch.setattr(client("stepfunctions"), "start_execution", start_execution)
    assert redeploy(deployment, deployment.run(RUN_ID), ttl_hours=2, instance_type="ml.g5.12xlarge") == OURS
    (request,) = started
    assert request["stateMachineArn"] == deployment.state_machine_arn
    terms = {"ttl_hours": 2, "instance_type": "ml.g5.12xlarge"}
    assert json.loads(request["input"]) == {**Upload(**any_plan().upload.model_dump()).event, "redeploy": terms}


@pytest.mark.parametrize(
    ("terms", "field"),
    [(("--instance-type", "g5.xlarge"), "instance_type"), (("--ttl-hours", "1000000"), "ttl_hours")],
)
def test_what_the_workflow_would_refuse_starts_no_execution(
    deployment: Deployment, finetune: Command, monkeypatch: pytest.MonkeyPatch, terms: tuple[str, str], field: str
) -> None:
    write_status(any_status())
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(client("stepfunctions"), "start_execution", lambda **request: started.append(request))
    with pytest.raises(RunRefused) as refused:
        finetune("deploy", RUN_ID, *terms)
    (finding,) = refused.value.findings
    assert (finding.code, finding.field) == (Code.RUN_JSON_INVALID, "redeploy")
    assert field in finding.message
    assert started == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"training_job": ""}, Code.RUN_HAS_NO_MODEL),
        ({"state": RunState.RUNNING}, Code.RUN_STILL_RUNNING),
    ],
)
def test_a_run_without_a_model_or_still_running_is_not_deployed(
    deployment: Deployment, changes: dict[str, Any], code: Code
) -> None:
    write_status(any_status(**changes))
    write(RunLayout(RUN_ID).plan, any_plan().model_dump_json())
    with pytest.raises(FineTuningError) as caught:
        redeploy(deployment, deployment.run(RUN_ID))
    assert caught.value.code == code
