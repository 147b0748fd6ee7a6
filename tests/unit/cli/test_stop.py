"""`finetune stop`."""

from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.runs.status import CLEAN_UP, Event, RunState
from tests.builders.cli import Command, write_status
from tests.builders.runs import RUN_ID, any_status, at


def test_stop_waits_for_the_clean_up_and_prints_what_it_did(
    finetune: Command, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
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


def test_waiting_for_a_clean_up_that_does_not_report_ends(
    finetune: Command, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(any_status(state=RunState.RUNNING))
    monkeypatch.setattr("finetuning_cli.stage.runs.CLEAN_UP_SECONDS", 0)
    with pytest.raises(FineTuningError) as caught:
        finetune("stop", RUN_ID)
    assert caught.value.code == Code.CLEAN_UP_LATE


def test_a_run_that_has_ended_is_not_stopped(finetune: Command, sent: list[dict[str, Any]]) -> None:
    write_status(any_status())
    assert "has already ended (succeeded)" in finetune("stop", RUN_ID)[1]
    assert sent == []
