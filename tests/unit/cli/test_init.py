"""`finetune init`: the questions, and the run.json that the answers make."""

import json
from pathlib import Path

import boto3
import pytest
from jsonschema import validate
from typer.testing import CliRunner

from finetuning.jumpstart.spec import cache_bucket
from finetuning.runs.run_json import read_request
from finetuning_cli.main import app
from finetuning_cli.preflight.run_file import SCHEMA
from tests.builders.jumpstart import LLAMA

PROJECT = Path(__file__).resolve().parents[3]
LICENCE = "fmhMetadata/eula/llama3_1Eula.txt"


def init(*words: str | Path, answers: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code, and both outputs."""
    result = CliRunner().invoke(
        app, ["init", *map(str, words)], input="".join(f"{answer}\n" for answer in answers), env={"COLUMNS": "200"}
    )
    return result.exit_code, result.output


@pytest.fixture
def licence(aws: None) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=cache_bucket("us-east-1"))
    s3.put_object(Bucket=cache_bucket("us-east-1"), Key=LICENCE, Body=b"You agree to be kind.", ACL="public-read")


def test_the_answers_make_a_run_json(licence: None, tmp_path: Path) -> None:
    code, said = init(tmp_path / "support", answers=("6", "chat", "read", "yes", "12"))
    assert code == 0
    document = json.loads((tmp_path / "support" / "run.json").read_text())
    assert document == {
        "$schema": SCHEMA.as_uri(),
        "model": LLAMA + "8b",
        "task": "chat",
        "accept_eula": True,
        "training": {"max_cost_usd": 12.0},
    }
    validate(document, json.loads(SCHEMA.read_text()))
    assert read_request((tmp_path / "support" / "run.json").read_bytes())[1] == []
    assert "https://www.llama.com/llama3_1/license/" in said
    assert f"https://jumpstart-cache-prod-us-east-1.s3.us-east-1.amazonaws.com/{LICENCE}" in said
    assert "You agree to be kind." in said
    assert f"finetune plan {tmp_path / 'support'}" in said


def test_the_defaults_accept_no_licence_and_set_no_limit(aws: None, tmp_path: Path) -> None:
    assert init(tmp_path, answers=("", "", "", ""))[0] == 0
    document = json.loads((tmp_path / "run.json").read_text())
    assert (document["model"], document["task"], document["accept_eula"]) == (LLAMA + "8b-instruct", "auto", False)
    assert "training" not in document


def test_nothing_is_asked_that_an_option_says(aws: None, tmp_path: Path) -> None:
    words = ("--model", LLAMA + "8b", "--task", "chat", "--accept-eula", "--max-cost", "7", "--json")
    code, said = init(tmp_path, *words)
    assert (code, json.loads(said)["run_json"]["training"]) == (0, {"max_cost_usd": 7})


def test_a_wrong_answer_is_asked_again(aws: None, tmp_path: Path) -> None:
    code, said = init(tmp_path, answers=("8b-instrukt", "2", "instruction", "chat", "no", "0"))
    assert code == 0
    assert "is not a supported model" in said
    assert "must be one of auto, chat, domain_adaptation." in said  # the 405B cannot be tuned on instructions


def test_a_licence_that_cannot_be_read_here_is_still_asked_about(aws: None, tmp_path: Path) -> None:
    code, said = init(tmp_path, answers=("", "", "read", "no", "0"))
    assert code == 0
    assert "Open the link in a browser." in said


def test_a_run_json_is_never_replaced(aws: None, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("mine")
    code, said = init(tmp_path, answers=("", "", "", ""))
    assert code == 2
    assert "exists. Edit it" in said
    assert (tmp_path / "run.json").read_text() == "mine"


def test_an_amount_that_a_run_would_refuse_writes_nothing(aws: None, tmp_path: Path) -> None:
    code, said = init(tmp_path, "--model", "meta-textgeneration-llama-3-1-8b", "--task", "chat", answers=("no", "-5"))
    assert code == 2
    assert "max_cost_usd" in said
    assert not (tmp_path / "run.json").exists()
