"""docs/operating.md documents every field of run.json, and an event as it is sent."""

import json
import re
from pathlib import Path

import jsonschema

from finetuning.settings import BEDROCK_ENDPOINTS, INTERFACE_ENDPOINTS
from tests.builders.documents import run_json_defaults, run_json_fields

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def part(name: str) -> str:
    return DOCUMENT.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]


def test_the_table_lists_exactly_the_fields_of_run_json() -> None:
    first_cells = re.findall(r"^\| (`.*?) \|", part("run.json"), re.MULTILINE)
    assert sorted(re.findall(r"`([\w.]+)`", " ".join(first_cells))) == sorted(run_json_fields())


def test_the_table_has_the_defaults_of_run_json() -> None:
    documented = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", part("run.json"), re.MULTILINE))
    defaults = {name: f"`{json.dumps(default)}`" for name, default in run_json_defaults().items()}
    assert len(defaults) > 10
    assert {name: documented[name] for name in defaults} == defaults


def test_the_idle_cost_counts_the_interface_endpoints() -> None:
    words = {9: "nine", 11: "eleven"}
    always, with_bedrock = len(INTERFACE_ENDPOINTS), len(INTERFACE_ENDPOINTS) + len(BEDROCK_ENDPOINTS)
    (row,) = re.findall(r"^\| interface endpoints \| none \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert row.startswith(f"{words[always]}, ")
    assert row.endswith(f" {words[with_bedrock]}")


def test_the_documented_event_is_one_that_its_schema_accepts() -> None:
    schema = json.loads((ROOT / "docs" / "run-event.schema.json").read_text(encoding="utf-8"))
    event = json.loads(part("event").strip().removeprefix("```json").removesuffix("```"))
    jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    assert event.keys() == schema["properties"].keys()
