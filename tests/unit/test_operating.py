"""docs/operating.md documents every field of run.json and allows every call of the command."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest

from finetuning_cli.main import COMMANDS
from tests.builders.documents import run_json_fields

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
SERVICES = {
    "application-autoscaling": ("application-autoscaling",),
    "cloudformation": ("cloudformation",),
    "cloudwatch": ("cloudwatch",),
    "kms": ("kms",),
    "logs": ("logs",),
    "s3": ("s3",),
    "sagemaker": ("sagemaker", "sagemaker-runtime"),
    "states": ("stepfunctions",),
}
"""IAM's prefix of an action → boto3's services with its operations."""
NO_OPERATION = {"s3:ListBucket", "s3:GetObjectVersion", "sagemaker:CallWithBearerToken"}
"""Actions without an operation of the same name: S3 requires them for ListObjectsV2 and for reading a version,
SageMaker for a call with a bearer token (its developer guide, "Invoke endpoints with OpenAI-compatible APIs").
"""


def part(name: str) -> str:
    return DOCUMENT.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]


def statements() -> list[dict[str, Any]]:
    policy = json.loads(part("policy").strip().removeprefix("```json").removesuffix("```"))
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def actions() -> set[str]:
    listed = [statement["Action"] for statement in statements()]
    return {action for each in listed for action in ([each] if isinstance(each, str) else each)}


def test_the_table_lists_exactly_the_fields_of_run_json() -> None:
    first_cells = re.findall(r"^\| (`.*?) \|", part("run.json"), re.MULTILINE)
    assert sorted(re.findall(r"`([\w.]+)`", " ".join(first_cells))) == sorted(run_json_fields())


def test_the_documented_event_is_one_that_its_schema_accepts() -> None:
    schema = json.loads((ROOT / "docs" / "run-event.schema.json").read_text(encoding="utf-8"))
    event = json.loads(part("event").strip().removeprefix("```json").removesuffix("```"))
    jsonschema.validate(event, schema, format_checker=jsonschema.FormatChecker())
    assert event.keys() == schema["properties"].keys()


def test_every_action_of_the_sample_policy_exists() -> None:
    known = {
        f"{prefix}:{operation}"
        for prefix, services in SERVICES.items()
        for service in services
        for operation in boto3.client(service, region_name="eu-west-1").meta.service_model.operation_names
    }
    assert sorted(actions() - known - NO_OPERATION) == []


@pytest.mark.parametrize("prefix", ["states", "cloudformation"])
def test_the_sample_policy_allows_every_call_of_the_command(prefix: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "cli").rglob("*.py")))
    (service,) = SERVICES[prefix]
    operations: dict[str, str] = boto3.client(service, region_name="eu-west-1").meta.method_to_api_mapping
    called = {operations[name] for name in re.findall(r"\.(\w+)\(", source) if name in operations}
    assert called
    assert {f"{prefix}:{operation}" for operation in called} <= actions()


def test_every_command_that_needs_a_stage_lists_its_statements() -> None:
    table = DOCUMENT.partition("| command | statements")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    named = {name for cell, _ in rows for name in re.findall(r"`([\w-]+)`", cell)}
    assert named == {*COMMANDS["Runs"], *COMMANDS["Endpoints"]}
    listed = {name for _, cell in rows for name in re.findall(r"`([A-Z]\w+)`", cell)}
    assert listed == {statement["Sid"] for statement in statements()} - {"FindStage"}
