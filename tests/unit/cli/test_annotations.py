"""`finetune check --github`: annotations of lines, as the runner of GitHub Actions reads them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders.cli import Command
from tests.builders.datasets import any_chat_rows, any_file, any_turn, as_lines, as_parquet


@dataclass(frozen=True)
class Annotation:
    level: str
    properties: dict[str, str]
    message: str


def unescaped(text: str) -> str:
    """As the runner does it, in its order."""
    for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, character)
    return text


def annotations(output: str) -> list[Annotation]:
    """What the runner makes of the output, of which every line must be a command."""
    found = []
    for line in output.splitlines():
        command = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
        assert command, line
        properties = dict(each.split("=", 1) for each in command[2].split(","))
        found.append(
            Annotation(
                command[1], {name: unescaped(value) for name, value in properties.items()}, unescaped(command[3])
            )
        )
    return found


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    return tmp_path


def test_lines_that_cannot_be_used_are_errors_of_refused_data(finetune: Command, repository: Path) -> None:
    (repository / "data").mkdir()
    path = any_file(repository / "data", [*any_chat_rows(6), b"garbage", *any_chat_rows(9)[6:]], "faq.jsonl")
    code, output = finetune("check", str(path), "--github")
    verdict, line = annotations(output)
    assert (code, verdict.level, verdict.properties) == (1, "error", {"title": "TOO_MANY_ERRORS"})
    assert (line.level, line.properties) == (
        "error",
        {"file": "data/faq.jsonl", "line": "7", "title": "JSON_INVALID"},
    )
    assert line.message.startswith("Invalid JSON at column 1: expected a value, found 'garbage'.\nFix the JSON")


def test_few_of_them_are_warnings_of_data_that_can_be_trained_on(finetune: Command, repository: Path) -> None:
    path = any_file(repository, [*any_chat_rows(150), b"garbage"], "faq.jsonl")
    code, output = finetune("check", str(path), "--github")
    verdict, line = annotations(output)
    assert (code, verdict.level, verdict.properties) == (0, "notice", {"title": "Ready to train"})
    assert re.fullmatch(r"\d+ rows, \d+ held out", verdict.message)
    assert (line.level, line.properties["line"]) == ("warning", "151")


def test_the_line_of_a_csv_row_is_that_of_the_file(finetune: Command, repository: Path) -> None:
    path = repository / "faq.csv"
    path.write_text('prompt,completion\n"two\nlines",yes\nno,way,out\n')
    assert annotations(finetune("check", str(path), "--github")[1])[1].properties["line"] == "4"


def test_no_text_of_the_data_or_of_a_name_begins_a_command(finetune: Command, repository: Path) -> None:
    name = "100%,line=1:\n::error::odd.jsonl"
    row = {"messages": [any_turn("\n::add-mask::y", "\n::stop-commands::x\r\n::error::no")]}
    (repository / name).write_bytes(as_lines([row, *any_chat_rows(3)]))
    found = annotations(finetune("check", str(repository / name), "--github")[1])
    assert [each.level for each in found] == ["error", "error"]
    assert (found[1].properties["file"], found[1].properties["line"]) == (name, "1")


def test_a_row_of_a_packed_file_is_named_without_a_line(finetune: Command, repository: Path) -> None:
    path = repository / "faq.parquet"
    path.write_bytes(as_parquet([{"prompt": "Why?", "completion": None}, {"prompt": "How?", "completion": "So."}]))
    row = annotations(finetune("check", str(path), "--github")[1])[-1]
    assert row.properties.keys() == {"file", "title"}
    assert row.message.startswith("Row 1")


def test_a_file_that_is_refused_as_a_whole_is_annotated_once(finetune: Command, repository: Path) -> None:
    path = repository / "faq.jsonl"
    path.write_bytes(b"")
    code, output = finetune("check", str(path), "--github")
    (only,) = annotations(output)
    assert (code, only.level, only.properties["file"], "line" in only.properties) == (1, "error", "faq.jsonl", False)


def test_each_finding_on_run_json_is_annotated(finetune: Command, repository: Path) -> None:
    any_file(repository, any_chat_rows(9))
    (repository / "run.json").write_text('{"taks": "chat", "validation_fraction": 7}')
    code, output = finetune("check", str(repository), "--github")
    found = annotations(output)
    assert code == 1
    assert [(each.level, each.properties["file"]) for each in found] == [("error", "run.json")] * 2
    assert "unknown field 'taks'" in found[1].message


def test_a_template_that_cannot_be_used_is_annotated(finetune: Command, repository: Path) -> None:
    any_file(repository, [{"drink": "Tea", "verdict": "Fine"}])
    (repository / "template.json").write_text('{"prompt": 7, "completion": "{verdict}"}')
    code, output = finetune("check", str(repository), "--github")
    (only,) = annotations(output)
    assert (code, only.properties) == (1, {"file": "template.json", "title": "TEMPLATE_INVALID"})


def test_a_file_outside_the_repository_keeps_its_path(
    finetune: Command, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository / "elsewhere"))
    path = any_file(repository, [*any_chat_rows(2), b"garbage"])
    assert annotations(finetune("check", str(path), "--github")[1])[1].properties["file"] == str(path)


def test_json_and_annotations_exclude_each_other(finetune: Command, repository: Path) -> None:
    assert finetune("check", str(any_file(repository, any_chat_rows(2))), "--github", "--json")[0] == 2
    assert "Choose --json or --github" in " ".join(finetune.stderr.split())
