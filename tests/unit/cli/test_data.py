"""`finetune check` and `finetune prepare`, as a person and as a machine use them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from finetuning.errors import Code, FineTuningError, RunRefused
from tests.builders.datasets import any_chat_rows, any_file

RUN = CliRunner()


def test_check_as_json_is_one_object_that_adds_up(tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(150), b"garbage"])
    result = RUN.invoke(app, ["check", str(path), "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["ok"]
    assert report["task"] == "chat"
    assert {"path": str(path), "format": "jsonl", "shape": "OpenAI chat"}.items() <= report["files"][0].items()
    rows = report["rows"]
    assert rows["kept"] + rows["duplicates"] + rows["errors"] + rows["blank"] == rows["lines"] == 151
    assert {"file", "line", "path", "code", "message", "fix"} <= report["errors"][0].keys()
    assert report["error_counts"] == {"JSON_INVALID": 1}


def test_check_exits_with_1_on_a_refusal_and_names_the_line(tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(6), b"garbage", *any_chat_rows(9)[6:]])
    result = RUN.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert "line 7" in " ".join(result.stdout.split())


def test_prepare_writes_the_channels_and_the_report(tmp_path: Path) -> None:
    path, out = any_file(tmp_path, any_chat_rows(50)), tmp_path / "out"
    result = RUN.invoke(app, ["prepare", str(path), "--out", str(out)])
    assert result.exit_code == 0
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*.json*")) == [
        "report.json",
        "train/data.jsonl",
        "validation/data.jsonl",
    ]


def test_a_folder_brings_its_template(tmp_path: Path) -> None:
    any_file(tmp_path, [{"drink": str(number), "verdict": "Fine"} for number in range(9)])
    (tmp_path / "template.json").write_text('{"prompt": "Is {drink} nice?", "completion": "{verdict}"}')
    report = json.loads(RUN.invoke(app, ["check", str(tmp_path), "--json"]).stdout)
    assert report["task"] == "instruction"
    assert report["samples"][0].startswith("Is 0 nice?")


@pytest.mark.parametrize(
    "template", ['{"prompt": 7, "completion": "{verdict}"}', '{"prompt": "{drink!r}", "completion": "x"}']
)
def test_a_template_that_the_workflow_would_refuse_is_refused(tmp_path: Path, template: str) -> None:
    any_file(tmp_path, [{"drink": "Tea", "verdict": "Fine"}])
    (tmp_path / "template.json").write_text(template)
    result = RUN.invoke(app, ["check", str(tmp_path)])
    assert isinstance(result.exception, FineTuningError)
    assert result.exception.code == Code.TEMPLATE_INVALID


@pytest.mark.parametrize(("model", "task"), [("405b-fp8", "chat"), ("8b", "instruction")])
def test_a_model_without_instruction_mode_gets_instructions_as_chat(tmp_path: Path, model: str, task: str) -> None:
    path = any_file(tmp_path, [{"instruction": "Add", "input": str(n), "output": "7"} for n in range(9)])
    how = ["--json", "--model", f"meta-textgeneration-llama-3-1-{model}"]
    assert json.loads(RUN.invoke(app, ["check", str(path), *how]).stdout)["task"] == task


def test_a_task_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert RUN.invoke(app, ["check", str(any_file(tmp_path, any_chat_rows(2))), "--task", "poetry"]).exit_code == 2


def test_a_place_that_cannot_be_written_to_is_a_wrong_option(tmp_path: Path) -> None:
    path, taken = any_file(tmp_path, any_chat_rows(9)), tmp_path / "taken"
    taken.touch()
    result = RUN.invoke(app, ["prepare", str(path), "--out", str(taken / "out")])
    assert result.exit_code == 2
    assert "--out" in result.stderr


def checked(*words: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(RUN.invoke(app, ["check", *words, "--json"]).stdout)
    return report


def test_a_folders_run_json_counts_as_in_a_run_and_options_go_before_it(tmp_path: Path) -> None:
    any_file(tmp_path, [*any_chat_rows(18), b"garbage"])
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "model": "meta-textgeneration-llama-3-1-405b-fp8",
                "task": "chat",
                "validation_fraction": 0.5,
                "max_error_fraction": 0.2,
                "hyperparameters": {"max_input_length": 33},
            }
        )
    )
    report = checked(str(tmp_path))
    assert (report["ok"], report["task"], report["validation_fraction"]) == (True, "chat", 0.5)
    assert report["statistics"]["max_input_length"] == 33
    assert any("run.json" in note and "50%" in note for note in report["notes"])
    assert checked(str(tmp_path), "--task", "domain_adaptation")["task"] == "domain_adaptation"
    alone = checked(*(str(file) for file in tmp_path.glob("*.jsonl")))
    assert (alone["ok"], alone["validation_fraction"]) == (False, 0.1)


def test_run_json_may_leave_conversations_as_they_are(tmp_path: Path) -> None:
    open_ended = {"messages": [*any_chat_rows(1)[0]["messages"], {"role": "user", "content": "And then?"}]}
    any_file(tmp_path, [*any_chat_rows(9), open_ended])
    assert checked(str(tmp_path))["repaired"] == 1
    (tmp_path / "run.json").write_text('{"repair": false}')
    assert checked(str(tmp_path))["error_counts"] == {"TRAILING_USER": 1}


def test_run_jsons_template_goes_before_the_file_beside_it(tmp_path: Path) -> None:
    any_file(tmp_path, [{"drink": str(number), "verdict": "Fine"} for number in range(9)])
    (tmp_path / "template.json").write_text('{"prompt": "Is {drink} nice?", "completion": "{verdict}"}')
    mine = {"prompt": "Taste {drink}.", "completion": "{verdict}"}
    (tmp_path / "run.json").write_text(json.dumps({"template": mine}))
    assert checked(str(tmp_path))["samples"][0].startswith("Taste 0.")


def test_a_run_json_that_cannot_be_read_is_refused_as_a_run_would_be(tmp_path: Path) -> None:
    any_file(tmp_path, any_chat_rows(9))
    (tmp_path / "run.json").write_text('{"taks": "chat"}')
    assert isinstance(RUN.invoke(app, ["check", str(tmp_path)]).exception, RunRefused)


def test_files_that_no_run_would_read_are_named(tmp_path: Path) -> None:
    any_file(tmp_path, any_chat_rows(9))
    (tmp_path / "notes.docx").touch()
    (note,) = checked(str(tmp_path))["notes"]
    assert str(tmp_path / "notes.docx") in note


def test_columns_that_are_lost_are_told(tmp_path: Path) -> None:
    rows = [
        {"frage": f"How warm is lake {n} in the month of June, and why?", "text": "A long text. " * 9} for n in range(9)
    ]
    path = any_file(tmp_path, rows)
    shown = " ".join(RUN.invoke(app, ["check", str(path)], env={"COLUMNS": "200"}).stdout.split())
    assert "Columns not used: frage (9 rows); to train on questions and answers, name the columns" in shown
