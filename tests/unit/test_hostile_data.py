"""Uploaded data never becomes a name, a path, a template or a log line. For the page see report/test_page.py."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.templates import Template, fill, template_columns
from finetuning.errors import Code, DatasetRefused, FineTuningError
from finetuning.handlers.step import logger, step, tracer
from finetuning.runs.names import Names
from finetuning.runs.uploads import Upload
from tests.builders.datasets import any_chat_rows, any_file, as_lines, report_of, rows_of
from tests.builders.handlers import AnyContext
from tests.builders.memory import MemoryStore
from tests.builders.stage import Stage, objects, run_steps

MARK = "Zanzibarleopard"
"""A word that occurs in rows only."""
HOSTILE_TEXTS = (
    "{0.__class__.__init__.__globals__}",
    "{response}",
    "{{ 7*7 }}{% include '/etc/passwd' %}",
    "%(x)s %s",
    "$(touch /tmp/x); `id`",
    "../../etc/passwd",
    '=HYPERLINK("https://example.com","x")',
    "<script>alert(1)</script>",
    "\\1 \\g<0>",
)
HOSTILE_NAMES = (
    "../../../etc/passwd",
    "a\x00b\x1b[2J",
    "<img src=x>",
    "$(id)",
    "{0.__class__}",
    "名前",
    "-" * 300,
    "...",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("pattern", ["inbox/{}.jsonl", "runs/{}/run.json"])
def test_a_name_becomes_letters_digits_and_hyphens_only(name: str, pattern: str) -> None:
    run_id = Upload("uploads", pattern.replace("{}", name.replace("/", "_")), "v1").run_id
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{8}", run_id)
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", Names("finetune-dev", run_id).endpoint)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_the_text_of_a_row_is_inserted_into_a_template_unchanged(text: str) -> None:
    assert fill("Say {a}{b}", {"a": text, "b": text}) == f"Say {text}{text}"


@pytest.mark.parametrize(
    "field",
    ["{}", "{0}", "{a.__class__}", "{0.__class__}", "{a[0]}", "{a!r}", "{a:>9}", "{a:{b}}", "{a", "a}", "{a{b}}"],
)
def test_a_template_that_accesses_attributes_or_formats_is_refused(field: str) -> None:
    for template in (Template(prompt=f"{{a}} {field}", completion="{b}"), Template(prompt="{a}", completion=field)):
        with pytest.raises(FineTuningError) as failure:
            template_columns(template)
        assert failure.value.code == Code.TEMPLATE_INVALID


def test_a_template_is_read_as_jumpstart_reads_it() -> None:
    template = Template(prompt="{a} {{as is}} {{a}} {my column}", completion="{{{b}}}")
    row = {"a": "one", "b": "two", "my column": "three", "as is": "four"}
    assert template_columns(template) == ["a", "my column", "b"]
    assert fill(template["prompt"], row) == template["prompt"].format(**row) == "one {as is} {a} three"
    assert fill(template["completion"], row) == template["completion"].format(**row) == "{two}"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_the_text_of_a_row_reaches_the_training_data_unchanged(tmp_path: Path, text: str) -> None:
    questions = [f"{number} {text}" for number in range(9)]
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": text}]}
        for question in questions
    ]
    assert report_of(tmp_path, rows).ok
    contents = {turn["content"] for row in rows_of(tmp_path) for turn in row["dialog"]}
    assert contents == {text, *questions}


def test_a_csv_formula_stays_text(tmp_path: Path) -> None:
    lines = "".join(f'"{n} {formula}","=1+1"\n' for n, formula in enumerate(("=cmd|'/C calc'!A0", "@SUM(1)", "+1") * 3))
    assert report_of(tmp_path, b"question,answer\n" + lines.encode(), "data.csv").ok
    assert "=1+1" in json.dumps(rows_of(tmp_path))


def test_the_snippet_of_an_invalid_line_is_short_and_printable(tmp_path: Path) -> None:
    rows = [*any_chat_rows(40), b'{"messages": [' + b"\x1b[2J\x07" + MARK.encode() * 500]
    (error,) = report_of(tmp_path, rows, max_error_fraction=0.5).errors
    assert len(error.snippet) <= 200
    assert error.snippet.isprintable()
    assert error.message.isprintable()


def test_files_are_read_under_the_users_names_and_written_under_ours(tmp_path: Path) -> None:
    path = any_file(tmp_path, as_lines(any_chat_rows(12)), "$(id) {0} <b>..jsonl")
    assert prepare_files([path], tmp_path / "out").ok
    assert {file.name for file in (tmp_path / "out").rglob("*") if file.is_file()} == {"data.jsonl"}


def test_no_row_is_in_a_log_line_or_a_metric(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    rows: list[Any] = [{"messages": marked_dialog(n)} for n in range(40)]
    bad: list[Any] = [
        b'{"messages": [{"role": "user", "content": "' + MARK.encode() + b'"',
        {"messages": [{"role": MARK, "content": MARK}]},
        {"messages": [{"role": "user", "content": {MARK: MARK}}]},
        {MARK: MARK},
    ]
    run_steps(stage, **{"data.jsonl": as_lines(rows)})
    with pytest.raises(DatasetRefused):
        run_steps(stage, **{"data.jsonl": as_lines([*rows, *bad])})
    output = log.getvalue() + "".join(capsys.readouterr())
    assert "finish_dataset" in output
    assert MARK not in output
    kept = {name: body for name, body in objects(stage, "runs/").items() if name.endswith("dataset.json")}
    assert any(MARK in DatasetReport.model_validate_json(body).model_dump_json() for body in kept.values())


def test_input_and_output_of_a_step_are_not_in_its_trace(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(tracer, "put_metadata", lambda **what: kept.append(what))
    handler = step(lambda run, event: {"row": MARK})
    assert handler({"run_id": "faq-0123abcd", "row": MARK}, AnyContext()) == {"row": MARK}
    assert MARK not in str(kept)


def marked_dialog(number: int) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"{MARK} {number}"},
        {"role": "assistant", "content": f"{number} {MARK}"},
    ]
