"""`finetune report`: a link to a run's report page, or the page as a file."""

import json
from pathlib import Path

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.runs.status import RunState
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import ARTIFACTS, Command, write_status
from tests.builders.runs import RUN_ID, any_status


def test_the_link_is_signed_and_names_its_expiry(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status())
    printed = json.loads(finetune("report", "pirate", "--json")[1])
    assert printed.keys() == {"run_id", "url", "expires_at"}
    assert f"{ARTIFACTS}" in printed["url"]
    assert f"runs/{RUN_ID}/report.html?" in printed["url"]
    first_line, url = finetune("report", RUN_ID)[1].splitlines()
    assert first_line.startswith("Anyone with this link can open the report until ")
    assert url.startswith("https://")


def test_there_is_no_link_while_the_run_is_running(deployment: Deployment, finetune: Command) -> None:
    write_status(any_status(state=RunState.RUNNING))
    with pytest.raises(FineTuningError, match="is still running") as caught:
        finetune("report", RUN_ID)
    assert caught.value.code == Code.REPORT_NOT_WRITTEN


def test_the_page_of_a_running_run_can_be_saved(deployment: Deployment, finetune: Command, tmp_path: Path) -> None:
    write_status(any_status(state=RunState.RUNNING))
    file = tmp_path / "report.html"
    assert finetune("report", RUN_ID, "--save", str(file)) == (0, f"Saved to {file}\n")
    assert RUN_ID in file.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_saved_is_a_usage_error(
    deployment: Deployment, finetune: Command, tmp_path: Path
) -> None:
    write_status(any_status())
    assert finetune("report", RUN_ID, "--save", str(tmp_path / "no-folder" / "report.html"))[0] == 2
    assert "--save" in finetune.stderr
