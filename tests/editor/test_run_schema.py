"""cli/finetuning_cli/run.schema.json as an editor uses it: VS Code's own JSON language service, without VS Code."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from finetuning.runs.run_json import run_schema

HERE = Path(__file__).parent
EXAMPLES = sorted(HERE.parents[1].glob("examples/**/run.json"))

needs_service = pytest.mark.skipif(
    not (HERE / "node_modules").is_dir(), reason="make setup-tests installs VS Code's language service"
)


def shown(*texts: str, files: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """For each text what the editor shows: problems; at `|`, which is removed, the hover text and what it proposes.

    `files`: where the texts are from; elsewhere by default, and without a `$schema` then.
    """
    uris = [file.as_uri() for file in files] or ["file:///elsewhere/run.json"] * len(texts)
    requests = [
        {"uri": uri, "text": text.replace("|", ""), "at": max(text.find("|"), 0)}
        for uri, text in zip(uris, texts, strict=True)
    ]
    given = json.dumps({"schema": run_schema(), "requests": requests})
    answer = subprocess.run(
        ["node", "language_service.mjs"], cwd=HERE, input=given, capture_output=True, text=True, check=True
    )
    answers: list[dict[str, Any]] = json.loads(answer.stdout)
    return answers


def properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    parts = {"": schema} | schema["$defs"]
    return {f"{part}.{name}": each for part, one in parts.items() for name, each in one.get("properties", {}).items()}


def test_the_schema_is_valid_and_has_an_id() -> None:
    schema = run_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == "urn:finetune-llama-on-aws:run.schema.json"
    assert schema["title"] == "run.json"


def test_every_field_has_a_title_and_a_description_of_one_line() -> None:
    fields = properties(run_schema())
    assert {name for name, field in fields.items() if not field.get("description")} == set()
    assert {name for name, field in fields.items() if "\n" in field["description"]} == set()
    assert fields["TrainingRequest.max_cost_usd"]["title"] == "Max cost (USD)"
    assert {name for name, field in fields.items() if " Usd" in field["title"] or "Request" in field["title"]} == set()


@needs_service
def test_an_editor_finds_nothing_wrong_with_the_examples() -> None:
    assert len(EXAMPLES) >= 5
    answers = shown(*(example.read_text(encoding="utf-8") for example in EXAMPLES), files=EXAMPLES)
    assert [answer["problems"] for answer in answers] == [[]] * len(EXAMPLES)


@needs_service
def test_an_example_leads_an_editor_to_the_published_schema() -> None:
    wrong = EXAMPLES[0].read_text(encoding="utf-8").replace('"task"', '"taks"')
    (answer,) = shown(wrong, files=EXAMPLES[:1])
    assert answer["problems"] == ["Property taks is not allowed."]


@needs_service
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"modle": "x"}', "Property modle is not allowed."),
        ('{"accept_eula": "yes"}', 'Incorrect type. Expected "boolean".'),
        ('{"task": "poetry"}', "Value is not accepted."),
        ('{"training": {"max_cost_usd": -1}}', "Value is below the exclusive minimum of 0."),
    ],
)
def test_an_editor_says_what_is_wrong(text: str, problem: str) -> None:
    (answer,) = shown(text)
    assert len(answer["problems"]) == 1
    assert answer["problems"][0].startswith(problem)


@needs_service
def test_an_editor_explains_a_field_and_proposes_the_others() -> None:
    hovered, completed = shown('{"training": {"max_co|st_usd": 5}}', '{"training": {|}}')
    assert "Max cost (USD)" in hovered["hover"]
    assert "A run that is estimated to cost more is refused." in hovered["hover"]
    assert {"instance_type", "max_cost_usd", "max_runtime_hours"} <= set(completed["proposed"])
