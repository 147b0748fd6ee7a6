"""The command as a whole: what it is called with elsewhere, it understands."""

import shlex
from pathlib import Path

import pytest
import typer

from cli.main import app
from finetuning.report import commands

TOLD = {
    "ask": commands.ask("finetune-dev-parrot", "prod"),
    "watch": commands.watch("pirate-0a1b2c3d", "prod"),
    "clean-up": commands.clean_up("pirate-0a1b2c3d", "prod"),
    "endpoints": commands.endpoints("prod"),
    "check": commands.check("chat.jsonl"),
    "report": commands.report("pirate-0a1b2c3d", "prod"),
}


@pytest.mark.parametrize("name", TOLD)
def test_every_command_that_the_report_tells_people_to_type_is_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chat.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    program, said, *words = shlex.split(TOLD[name])
    assert (program, said) == ("finetune", name)
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]  # Typer's group is a Click group
    assert command.make_context(name, words).params  # raises for what it does not know
