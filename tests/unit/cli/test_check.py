"""`finetune check` and `finetune prepare`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning_cli.main import app
from finetuning_cli.preflight.documents import FACTS, SpecFolder
from tests.builders.cli import Command
from tests.builders.datasets import any_chat_rows, any_file


def checked(finetune: Command, *words: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(finetune("check", *words, "--json")[1])
    return report


def test_check_as_json_prints_one_object_whose_counts_add_up(finetune: Command, tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(150), b"garbage"])
    code, output = finetune("check", str(path), "--json")
    report = json.loads(output)
    assert code == 0
    assert report["ok"]
    assert report["task"] == "chat"
    assert {"path": str(path), "format": "jsonl", "shape": "OpenAI chat"}.items() <= report["files"][0].items()
    rows = report["rows"]
    assert rows["kept"] + rows["duplicates"] + rows["errors"] + rows["blank"] == rows["lines"] == 151
    assert {"file", "line", "path", "code", "message", "fix"} <= report["errors"][0].keys()
    assert report["error_counts"] == {"JSON_INVALID": 1}


def test_a_check_works_without_the_aws_sdk(tmp_path: Path) -> None:
    """Its import takes longer than everything else that a check of a small file does."""
    path = any_file(tmp_path, any_chat_rows(9))
    program = (
        "import sys; sys.modules['boto3'] = sys.modules['botocore'] = None; import finetuning_cli.main as m; m.main()"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--github", str(path)], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "::notice title=Ready to train::7 rows, 2 held out\n"), done.stderr


def test_check_exits_with_1_and_names_the_line_if_data_is_refused(finetune: Command, tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(6), b"garbage", *any_chat_rows(9)[6:]])
    code, output = finetune("check", str(path))
    assert code == 1
    assert "line 7" in " ".join(output.split())


def test_an_error_of_many_lines_is_printed_once(finetune: Command, tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(6), *[b"garbage"] * 30])
    output = " ".join(finetune("check", str(path))[1].split())
    assert "line 7 and 29 more" in output
    assert "line 8" not in output
    assert "Total: JSON_INVALID 30" in output


def test_of_more_errors_than_are_kept_all_are_counted(finetune: Command, tmp_path: Path) -> None:
    garbage = [b"garbage"] * 150
    output = " ".join(finetune("check", str(any_file(tmp_path, [*any_chat_rows(6), *garbage])))[1].split())
    assert "line 7 and 149 more" in output
    tools = {**any_chat_rows(1)[0], "tools": [{"type": "function", "function": {"name": "f"}}]}
    called = {"messages": [{"role": "tool", "content": "a"}]}
    rows = [*any_chat_rows(6), tools, *[called] * 60, *[tools] * 60]
    output = " ".join(finetune("check", str(any_file(tmp_path, rows)))[1].split())
    assert "line 7 tools and at least 39 more" in output


@pytest.mark.parametrize(
    ("name", "content", "code", "columns"),
    [
        ("a.csv", "Customer question,Agent reply\nWhy?,So.\n", "COLUMNS_UNKNOWN", "none known, not used: Customer"),
        ("a.json", '{"prompt": ["a", "b"], "completion": ["c", "d"]}', "TABLE_BY_COLUMN", "not read."),
        ("a.jsonl", '[{"role": "user", "content": "a"}]', "NOTHING_USABLE", "none, the rows are lists of turns."),
        ("a.csv", "PK\x03\x04", "ARCHIVE", "not read."),
    ],
)
def test_data_that_is_refused_is_explained_once_and_what_was_not_read_is_not_described(
    finetune: Command, tmp_path: Path, name: str, content: str, code: str, columns: str
) -> None:
    (tmp_path / name).write_text(content)
    exit_code, printed = finetune("check", str(tmp_path / name))
    output = " ".join(printed.split())
    assert exit_code == 1
    assert output.count(code) == 1
    assert f"Columns: {columns}" in output
    assert "About 0 tokens" not in output
    assert "?" not in output.replace("Why?", "")


def test_the_report_of_rows_with_a_million_keys_fits_a_screen(finetune: Command, tmp_path: Path) -> None:
    rows = any_chat_rows(6)
    rows[4] |= {f"key{number}": 1 for number in range(1_000_000)}
    rows[5] |= {"k" * 10_000_000: 1}
    code, output = finetune("check", str(any_file(tmp_path, rows)))
    assert code == 0
    assert "Unused columns: " in output
    assert len(output) < 10_000


def test_prepare_writes_the_channels_and_the_report(finetune: Command, tmp_path: Path) -> None:
    path, out = any_file(tmp_path, any_chat_rows(50)), tmp_path / "out"
    code, output = finetune("prepare", str(path), "--out", str(out))
    assert (code, output.splitlines()[-1]) == (0, f"Written to {out}/train and {out}/validation")
    assert sorted(str(file.relative_to(out)) for file in out.rglob("*.json*")) == [
        "report.json",
        "train/data.jsonl",
        "validation/data.jsonl",
    ]


@pytest.mark.parametrize("given", ["folder", "file"])
def test_prepare_deletes_no_file_that_it_did_not_write(finetune: Command, tmp_path: Path, given: str) -> None:
    own = tmp_path / "own"
    (own / "train").mkdir(parents=True)
    mine = any_file(own / "train", any_chat_rows(50), "chat.jsonl")
    other = any_file(tmp_path, any_chat_rows(50))
    assert finetune("prepare", str(own if given == "folder" else other), "--out", str(own))[0] == 2
    assert "train/chat.jsonl" in "".join(finetune.stderr.split())
    assert mine.is_file()
    assert not (own / "report.json").exists()


def test_prepare_replaces_what_it_wrote_before_and_no_other_report(finetune: Command, tmp_path: Path) -> None:
    path, out = any_file(tmp_path, any_chat_rows(50)), tmp_path / "out"
    assert finetune("prepare", str(path), "--out", str(out))[0] == 0
    (out / "train" / "data.jsonl").write_text("")
    assert finetune("prepare", str(path), "--out", str(out))[0] == 0
    assert (out / "train" / "data.jsonl").stat().st_size > 0
    (out / "report.json").write_text('{"mine": true}')
    assert finetune("prepare", str(path), "--out", str(out))[0] == 2
    assert (out / "report.json").read_text() == '{"mine": true}'


def test_the_template_in_a_folder_is_used(finetune: Command, tmp_path: Path) -> None:
    any_file(tmp_path, [{"drink": str(number), "verdict": "Fine"} for number in range(9)])
    (tmp_path / "template.json").write_text('{"prompt": "Is {drink} nice?", "completion": "{verdict}"}')
    report = checked(finetune, str(tmp_path))
    assert report["task"] == "instruction"
    assert report["samples"][0].startswith("Is 0 nice?")


@pytest.mark.parametrize(
    "template", ['{"prompt": 7, "completion": "{verdict}"}', '{"prompt": "{drink!r}", "completion": "x"}']
)
def test_a_template_that_the_workflow_would_refuse_is_refused(finetune: Command, tmp_path: Path, template: str) -> None:
    any_file(tmp_path, [{"drink": "Tea", "verdict": "Fine"}])
    (tmp_path / "template.json").write_text(template)
    with pytest.raises(FineTuningError) as caught:
        finetune("check", str(tmp_path))
    assert caught.value.code == Code.TEMPLATE_INVALID


@pytest.mark.parametrize(("model", "task"), [("405b-fp8", "chat"), ("8b", "instruction")])
def test_a_model_without_instruction_tuning_gets_instructions_as_chat(
    finetune: Command, tmp_path: Path, model: str, task: str
) -> None:
    path = any_file(tmp_path, [{"instruction": "Add", "input": str(n), "output": "7"} for n in range(9)])
    assert checked(finetune, str(path), "--model", f"meta-textgeneration-llama-3-1-{model}")["task"] == task


def test_an_unknown_task_is_a_usage_error(finetune: Command, tmp_path: Path) -> None:
    assert finetune("check", str(any_file(tmp_path, any_chat_rows(2))), "--task", "poetry")[0] == 2
    assert "is not one of 'auto', 'chat'" in " ".join(finetune.stderr.split())


def test_an_output_folder_that_cannot_be_written_is_a_usage_error(finetune: Command, tmp_path: Path) -> None:
    path, taken = any_file(tmp_path, any_chat_rows(9)), tmp_path / "taken"
    taken.touch()
    assert finetune("prepare", str(path), "--out", str(taken / "out"))[0] == 2
    assert "--out" in finetune.stderr


def test_a_folders_run_json_applies_and_options_override_it(finetune: Command, tmp_path: Path) -> None:
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
    report = checked(finetune, str(tmp_path))
    assert (report["ok"], report["task"], report["validation_fraction"]) == (True, "chat", 0.5)
    assert report["statistics"]["max_input_length"] == 33
    assert any("run.json" in note and "50%" in note for note in report["notes"])
    assert checked(finetune, str(tmp_path), "--task", "domain_adaptation")["task"] == "domain_adaptation"
    alone = checked(finetune, *(str(file) for file in tmp_path.glob("*.jsonl")))
    assert (alone["ok"], alone["validation_fraction"]) == (False, 0.1)


def test_run_json_can_turn_repair_off(finetune: Command, tmp_path: Path) -> None:
    open_ended = {"messages": [*any_chat_rows(1)[0]["messages"], {"role": "user", "content": "And then?"}]}
    any_file(tmp_path, [*any_chat_rows(9), open_ended])
    assert checked(finetune, str(tmp_path))["repaired"] == 1
    (tmp_path / "run.json").write_text('{"repair": false}')
    assert checked(finetune, str(tmp_path))["error_counts"] == {"TRAILING_USER": 1}


def test_the_template_in_run_json_overrides_the_file_beside_it(finetune: Command, tmp_path: Path) -> None:
    any_file(tmp_path, [{"drink": str(number), "verdict": "Fine"} for number in range(9)])
    (tmp_path / "template.json").write_text('{"prompt": "Is {drink} nice?", "completion": "{verdict}"}')
    mine = {"prompt": "Taste {drink}.", "completion": "{verdict}"}
    (tmp_path / "run.json").write_text(json.dumps({"template": mine}))
    assert checked(finetune, str(tmp_path))["samples"][0].startswith("Taste 0.")


def test_an_invalid_run_json_is_refused(finetune: Command, tmp_path: Path) -> None:
    any_file(tmp_path, any_chat_rows(9))
    (tmp_path / "run.json").write_text('{"taks": "chat"}')
    with pytest.raises(RunRefused):
        finetune("check", str(tmp_path))


def test_files_that_a_run_would_not_read_are_named(finetune: Command, tmp_path: Path) -> None:
    any_file(tmp_path, any_chat_rows(9))
    (tmp_path / "notes.docx").touch()
    (note,) = checked(finetune, str(tmp_path))["notes"]
    assert str(tmp_path / "notes.docx") in note


def test_unused_columns_are_named(finetune: Command, tmp_path: Path) -> None:
    rows = [
        {"frage": f"How warm is lake {n} in the month of June, and why?", "text": "A long text. " * 9} for n in range(9)
    ]
    path = any_file(tmp_path, rows)
    shown = " ".join(finetune("check", str(path))[1].split())
    assert "Unused columns: frage (9 rows); to train on questions and answers, name the columns" in shown


def test_hidden_files_of_a_folder_are_skipped(finetune: Command, tmp_path: Path) -> None:
    any_file(tmp_path, any_chat_rows(9))
    (tmp_path / ".old.jsonl").write_text("{broken")
    report = checked(finetune, str(tmp_path))
    assert (len(report["files"]), report["notes"]) == (1, [])


def test_a_folder_without_data_is_a_usage_error(finetune: Command, tmp_path: Path) -> None:
    assert finetune("check", str(tmp_path))[0] == 2


def test_no_name_is_broken_in_a_narrow_terminal(tmp_path: Path) -> None:
    path = any_file(tmp_path, [*any_chat_rows(6), b"garbage", *any_chat_rows(9)[6:]])
    shown = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "60"}).stdout
    lines = [line.rstrip() for line in shown.splitlines()]
    assert {str(path), "JSON_INVALID", f"  where: {path} line 7"} <= set(lines)
    assert "chat: lines 10, kept 9," in shown
    models = CliRunner().invoke(app, ["models"], env={"COLUMNS": "60"}).stdout
    spec = SpecFolder(FACTS).spec("meta-textgeneration-llama-3-1-8b")
    assert {name for name in spec.supported_training_instance_types if name not in models} == set()
    assert {name for name in CATALOGUE if name not in {line.rstrip() for line in models.splitlines()}} == set()
