"""Each check of the planner: its line in the preflight's table, and the finding when it fails."""

from typing import Any

import pytest

from finetuning.errors import Code
from finetuning.jumpstart.family import Task
from finetuning.runs.status import Check
from tests.builders.jumpstart import LLAMA, any_spec, planned

DOLLY = b'{"instruction": "Add", "context": "3 + 4", "response": "7"}\n'
COLUMNS = b'{"ticket": "Add 3 and 4", "reply": "7"}\n'
PROSE = b"It was a dark and stormy night in the harbour of Tindermoor.\n"
PARQUET = b"PAR1" + b"\0" * 40
FITS_DOLLY = {"prompt": "{instruction} {context}", "completion": "{response}"}
FITS_COLUMNS = {"prompt": "{ticket}", "completion": "{reply}"}
NO_INSTRUCTION = LLAMA + "405b-fp8"


def accepted(**fields: Any) -> dict[str, Any]:
    return {"accept_eula": True, **fields}


@pytest.mark.parametrize(
    ("run_json", "data", "check", "code", "field", "named"),
    [
        ({}, {}, "licence", Code.EULA_NOT_ACCEPTED, "accept_eula", "llama-3-1-8b-instruct is not accepted"),
        (accepted(model="gpt-2"), {}, "model", Code.MODEL_UNKNOWN, "model", "'gpt-2'"),
        (
            accepted(model=NO_INSTRUCTION, task="instruction"),
            {"head": DOLLY},
            "task",
            Code.TASK_UNSUPPORTED,
            "task",
            "instruction tuning of meta-textgeneration-llama-3-1-405b-fp8 is planned",
        ),
        (
            accepted(model=NO_INSTRUCTION, template=FITS_DOLLY),
            {"head": DOLLY},
            "task",
            Code.TASK_UNSUPPORTED,
            "task",
            "instruction tuning of meta-textgeneration-llama-3-1-405b-fp8 is planned",
        ),
        (accepted(), {"head": b"<!DOCTYPE html><html>"}, "data", Code.DATASET_REFUSED, "", "data.jsonl: "),
        (
            accepted(),
            {"head": PROSE, "name": "d.txt", "template_file": b'{"prompt": "{a}", "completion": "{b}"}'},
            "data",
            Code.DATASET_REFUSED,
            "",
            "not for instruction",
        ),
        (
            accepted(template={"prompt": "{ticket", "completion": "{reply}"}),
            {"head": COLUMNS, "template_file": b'{"prompt": "{ticket}", "completion": "{reply}"}'},
            "template",
            Code.TEMPLATE_INVALID,
            "template",
            "braces",
        ),
        (accepted(), {"head": DOLLY, "template_file": b"{}"}, "template", Code.TEMPLATE_INVALID, "", "template.json"),
        (
            accepted(template=FITS_COLUMNS),
            {"head": DOLLY},
            "template",
            Code.TEMPLATE_INVALID,
            "template",
            "names reply, ticket; the data's columns are context, instruction, response.",
        ),
        (
            accepted(),
            {"head": DOLLY, "template_file": b'{"prompt": "{ticket}", "completion": "{response}"}'},
            "template",
            Code.TEMPLATE_INVALID,
            "",
            "names ticket; the data's columns are",
        ),
        (
            accepted(task="chat", template=FITS_DOLLY),
            {"head": DOLLY},
            "template",
            Code.TEMPLATE_INVALID,
            "template",
            "the task is chat",
        ),
        (
            accepted(task="domain_adaptation"),
            {"head": PROSE, "name": "d.txt", "template_file": b'{"prompt": "{a}", "completion": "{b}"}'},
            "template",
            Code.TEMPLATE_INVALID,
            "",
            "the task is domain_adaptation",
        ),
        (
            accepted(hyperparameters={"epoch": 0}),
            {},
            "hyperparameters",
            Code.HYPERPARAMETER_INVALID,
            "hyperparameters.epoch",
            "at least 1, not 0",
        ),
        (
            accepted(evaluation={"must_beat_base": True, "prompts": 0}),
            {},
            "evaluation",
            Code.RUN_JSON_INVALID,
            "evaluation.must_beat_base",
            "no held-out row would be used",
        ),
        (
            accepted(tags={"aws:team": "a"}),
            {},
            "tags",
            Code.RUN_JSON_INVALID,
            "tags.aws:team",
            "'aws:team' has a reserved prefix (aws:, finetune:, sagemaker-sdk:, sagemaker:)",
        ),
    ],
)
def test_a_check_that_fails_is_one_finding_that_names_the_field_and_the_cause(
    run_json: dict[str, Any], data: dict[str, Any], check: str, code: Code, field: str, named: str
) -> None:
    plan, (finding,) = planned(run_json, **data)
    assert (finding.code, finding.field) == (code, field)
    assert named in finding.message
    assert finding.fix
    assert [line.check for line in plan.checks if line.ok is False] == [check]


def line(check: str, run_json: dict[str, Any], **data: Any) -> Check:
    """The check's only line in the table of a submission without findings."""
    plan, findings = planned(run_json, **data)
    assert findings == []
    (found,) = [each for each in plan.checks if each.check == check]
    return found


@pytest.mark.parametrize(
    ("run_json", "data", "ok", "message"),
    [
        (accepted(), {}, True, "chat: most of the first rows are conversations"),
        (accepted(), {"head": DOLLY}, True, "instruction: most of the first rows are instructions with answers"),
        (accepted(task="chat"), {}, True, "chat: run.json sets the task"),
        (accepted(template=FITS_COLUMNS), {"head": COLUMNS}, True, "instruction: there is a template"),
        (
            accepted(task="instruction", template=FITS_COLUMNS),
            {"head": COLUMNS},
            True,
            "instruction: there is a template",
        ),
        (accepted(task="chat"), {"head": None}, True, "chat (set in run.json)"),
        (accepted(task="chat"), {"head": PARQUET, "name": "d.parquet"}, True, "chat: run.json sets the task"),
        (accepted(), {"head": PARQUET, "name": "d.parquet"}, None, "detected when the data is read"),
        (accepted(), {"head": None}, None, "detected when the data is read"),
    ],
)
def test_the_task_is_shown_with_the_reason_for_it(
    run_json: dict[str, Any], data: dict[str, Any], ok: bool | None, message: str
) -> None:
    shown = line("task", run_json, **data)
    assert (shown.ok, shown.message) == (ok, message)


@pytest.mark.parametrize(
    ("data", "resolved"),
    [({}, True), ({"head": None}, False), ({"head": PARQUET, "name": "d.parquet"}, False)],
    ids=["rows", "no file", "parquet"],
)
def test_how_rows_are_read_is_settled_once_their_columns_are_known(data: dict[str, Any], resolved: bool) -> None:
    plan, _ = planned(accepted(task="chat"), **data)
    assert plan.task is Task.CHAT
    assert (plan.resolution is not None) is resolved


@pytest.mark.parametrize(
    "data", [{"head": DOLLY}, {"head": PARQUET, "name": "d.parquet"}], ids=["known columns", "columns not read yet"]
)
def test_a_template_that_fits_is_shown_with_its_columns(data: dict[str, Any]) -> None:
    shown = line("template", accepted(template=FITS_DOLLY), **data)
    assert (shown.ok, shown.message) == (True, "uses context, instruction, response")


def test_the_names_of_the_job_and_the_endpoint_are_shown() -> None:
    plan, _ = planned(accepted(endpoint={"name": "support"}))
    shown = line("names", accepted(endpoint={"name": "support"}))
    assert (shown.ok, shown.message) == (True, f"finetune-dev-{plan.run_id}, finetune-dev-support")


@pytest.mark.parametrize(
    ("model_id", "difference"),
    [
        (LLAMA + "8b", ""),
        ("meta-textgeneration-llama-3-8b", ""),
        (
            LLAMA + "70b",
            "; differs from this project's catalogue: max_input_length is 1024 by default, not 2000, "
            "per_device_train_batch_size is 1 by default, not 8",
        ),
    ],
)
def test_the_model_is_shown_with_its_version_and_where_it_differs_from_the_catalogue(
    model_id: str, difference: str
) -> None:
    spec = any_spec(model_id)
    shown = line("model", accepted(model=model_id))
    assert (shown.ok, shown.message) == (True, f"{model_id} {spec.version} ({spec.provenance}){difference}")


def test_a_licence_without_a_text_in_the_bucket_is_accepted_without_a_key() -> None:
    plan, findings = planned(accepted(), change=lambda document: document.pop("hosting_eula_key"))
    assert findings == []
    assert plan.accepted is not None
    assert plan.accepted.licence_key == ""
