"""The command as a whole: help, failures, and the command lines that reports and messages suggest."""

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import boto3
import pytest
import typer
from botocore.exceptions import ClientError, ProfileNotFound
from typer.testing import CliRunner

from finetuning.aws.errors import translate_errors
from finetuning.errors import Code, FineTuningError
from finetuning.report import commands
from finetuning_cli import main
from finetuning_cli.commands.options import with_common_options
from finetuning_cli.errors import to_cli_error
from finetuning_cli.main import COMMANDS, app
from finetuning_cli.stage.deployment import Deployment
from tests.builders.datasets import any_file

SUGGESTED = {
    "ask": commands.ask("finetune-dev-parrot", "prod"),
    "watch": commands.watch("pirate-0a1b2c3d", "prod"),
    "clean-up": commands.clean_up("pirate-0a1b2c3d", "prod"),
    "endpoints": commands.endpoints("prod"),
    "check": commands.check("chat.jsonl"),
    "report": commands.report("pirate-0a1b2c3d", "prod"),
}

EVERY = [name for commands in COMMANDS.values() for name in commands]


def help_of(*words: str, columns: int = 80) -> str:
    return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(columns), "NO_COLOR": "1"}).stdout


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_an_example_and_a_json_option(name: str) -> None:
    shown = help_of(name)
    assert "--json" in shown
    assert "Example" in shown
    assert f"  finetune {name} " in shown + " "


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", ["", *EVERY])
def test_help_fits_the_terminal(name: str, columns: int) -> None:
    shown = help_of(*filter(None, [name]), columns=columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert "\x1b" not in shown


def test_the_overview_groups_the_commands_and_explains_exit_codes() -> None:
    shown = help_of()
    assert [shown.index(panel) for panel in COMMANDS] == sorted(shown.index(panel) for panel in COMMANDS)
    assert "Exit codes: 0 success" in shown
    assert "--install-completion" in shown


@pytest.mark.parametrize("columns", [60, 80])
def test_no_name_in_the_help_is_cut_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setattr(app, "rich_markup_mode", app.rich_markup_mode)
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("", *EVERY):
        monkeypatch.setattr(sys, "argv", ["finetune", *([name] if name else []), "--help"])
        with pytest.raises(SystemExit):
            main.main()
        assert "…" not in capsys.readouterr().out, name


def test_the_examples_in_the_help_are_commands() -> None:
    for name in EVERY:
        lines = [line.strip() for line in help_of(name, columns=120).splitlines() if line.startswith("   finetune ")]
        for line in lines:
            assert line.split()[1] == name


def test_help_and_completion_load_neither_the_aws_sdk_nor_the_package() -> None:
    loaded = "import sys, finetuning_cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout
    assert not {"boto3", "botocore", "pydantic", "finetuning"} & set(printed.split())


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_is_printed_as_text_or_json_with_exit_code_1(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["finetune", "report", "nobody", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out)["error"]["code"] == Code.RUN_NOT_FOUND
    else:
        assert "RUN_NOT_FOUND" in err


def end(monkeypatch: pytest.MonkeyPatch, raised: Exception, *options: str) -> None:
    """Runs a command that ends in that exception."""

    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setattr(main, "app", fail)
    monkeypatch.setattr(sys, "argv", ["finetune", "runs", *options])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1


def test_a_bug_is_reported_without_its_traceback_by_default(
    aws: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end(monkeypatch, KeyError("lost"))
    shown = capsys.readouterr().err
    assert "INTERNAL_ERROR" in shown
    assert "Traceback" not in shown
    end(monkeypatch, KeyError("lost"), "--json")
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "KeyError: 'lost'"
    monkeypatch.setenv(main.TRACEBACK, "1")
    with pytest.raises(KeyError):
        main.main()


@pytest.mark.parametrize("as_json", [True, False])
def test_an_output_without_utf_8_is_no_bug_of_the_command(tmp_path: Path, as_json: bool) -> None:
    """As of a pipe on Windows, or of a terminal in another locale."""
    data = any_file(tmp_path, [{"prompt": f"Frage {n}: süß?", "completion": f"✓ 日本 {n}"} for n in range(20)])
    command = [sys.executable, "-m", "finetuning_cli", "check", str(data), *(["--json"] if as_json else [])]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    shown = ended.stdout.decode("cp1252")
    if as_json:
        assert "✓ 日本" in json.loads(shown)["samples"][0]
    else:
        assert "süß?" in shown
        assert "? ??" in shown


def test_a_missing_profile_is_reported_by_every_command(
    aws: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end(monkeypatch, ProfileNotFound(profile="nobody"))
    assert "AWS_NOT_CONFIGURED" in capsys.readouterr().err


def test_a_session_that_expires_during_a_command_says_how_to_sign_in(
    aws: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "GetObject")
    with pytest.raises(FineTuningError) as caught, translate_errors("read the status"):
        raise expired
    end(monkeypatch, caught.value)
    assert "aws sso login" in capsys.readouterr().err


def test_an_invalid_task_token_is_not_reported_as_missing_credentials() -> None:
    late = FineTuningError(Code.NOT_WAITING_FOR_APPROVAL, "It was answered.", "Look.")
    late.__cause__ = ClientError({"Error": {"Code": "InvalidToken", "Message": "no"}}, "SendTaskSuccess")
    assert to_cli_error(late) is late


def test_the_region_is_that_of_the_option_else_of_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = []
    command = with_common_options(lambda: regions.append(boto3.Session().region_name))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    command(profile=None, region=None, quiet=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    command(profile=None, region=None, quiet=False)
    command(profile=None, region="eu-central-1", quiet=False)
    assert regions == ["eu-west-1", "eu-west-1", "eu-central-1"]


@pytest.mark.parametrize("number", ["inf", "nan", "-inf"])
def test_a_number_without_an_end_is_a_usage_error(deployment: Deployment, number: str) -> None:
    """JSON has no such number: AWS would refuse it, or a limit would be none."""
    for words in (["deploy", "pirate", "--ttl-hours"], ["extend", "pirate", "--hours"], ["first-run", "--budget"]):
        ended = CliRunner().invoke(app, [*words, number])
        assert (ended.exit_code, ended.exception.__class__) == (2, SystemExit)
        assert words[-1] in ended.stderr


def test_every_command_has_the_common_options_and_a_short_help() -> None:
    for name in EVERY:
        shown = CliRunner().invoke(app, [name, "-h"], env={"COLUMNS": "100", "NO_COLOR": "1"}).stdout
        assert all(option in shown for option in ("--profile", "--region", "--quiet", "-q")), name


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"finetune {version('finetune-llama-on-aws')}\n"


@pytest.mark.parametrize("name", SUGGESTED)
def test_every_command_that_the_report_suggests_exists(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chat.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    program, said, *words = shlex.split(SUGGESTED[name])
    assert (program, said) == ("finetune", name)
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]  # Typer's group is a Click group
    assert command.make_context(name, words).params  # raises for what it does not know


def test_a_profile_comes_before_credentials_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile prod]\naws_access_key_id = of-prod\naws_secret_access_key = any\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "restored after the test")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")  # pragma: allowlist secret
    used: list[str] = []

    def command() -> None:
        credentials = boto3.Session().get_credentials()
        used.append(credentials.access_key if credentials else "")

    with_common_options(command)(profile="prod", region=None, quiet=False)
    assert used == ["of-prod"]
