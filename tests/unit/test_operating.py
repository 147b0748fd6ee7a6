"""docs/operating.md tells all there is to set, and allows what the command does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli.main import COMMANDS
from finetuning.runs.run_json import run_schema

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
SERVICES = {
    "application-autoscaling": ("application-autoscaling",),
    "cloudformation": ("cloudformation",),
    "cloudwatch": ("cloudwatch",),
    "kms": ("kms",),
    "s3": ("s3",),
    "sagemaker": ("sagemaker", "sagemaker-runtime"),
    "states": ("stepfunctions",),
}
"""IAM's prefix of an action → boto3's services with its operations."""
NO_OPERATION = {"s3:ListBucket", "s3:GetObjectVersion"}
"""Actions that are not named after an operation: S3 asks them of ListObjectsV2, and of reading a version."""


def part(name: str) -> str:
    return DOCUMENT.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]


def statements() -> list[dict[str, Any]]:
    policy = json.loads(part("policy").strip().removeprefix("```json").removesuffix("```"))
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def actions() -> set[str]:
    listed = [statement["Action"] for statement in statements()]
    return {action for each in listed for action in ([each] if isinstance(each, str) else each)}


def fields(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted names of all that a run.json may hold; of a field that is an object its own fields, and the field itself
    where it may be something else, too."""
    for name, value in node["properties"].items():
        options = [value, *value.get("anyOf", [])]
        parts = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in options if "$ref" in each]
        if not parts or {"type": "boolean"} in options:
            yield path + name
        for each in parts:
            yield from fields(schema, each, f"{path}{name}.")


def test_every_field_of_run_json_stands_in_the_table_and_no_other_does() -> None:
    schema = run_schema()
    first_cells = re.findall(r"^\| (`.*?) \|", part("run.json"), re.MULTILINE)
    assert sorted(re.findall(r"`([\w.]+)`", " ".join(first_cells))) == sorted(fields(schema, schema))


def test_every_action_of_the_sample_policy_is_one_that_aws_knows() -> None:
    known = {
        f"{prefix}:{operation}"
        for prefix, services in SERVICES.items()
        for service in services
        for operation in boto3.client(service, region_name="eu-west-1").meta.service_model.operation_names
    }
    assert sorted(actions() - known - NO_OPERATION) == []


@pytest.mark.parametrize("prefix", ["states", "cloudformation"])
def test_what_the_command_calls_itself_is_allowed(prefix: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "cli").rglob("*.py")))
    (service,) = SERVICES[prefix]
    operations: dict[str, str] = boto3.client(service, region_name="eu-west-1").meta.method_to_api_mapping
    called = {operations[name] for name in re.findall(r"\.(\w+)\(", source) if name in operations}
    assert called
    assert {f"{prefix}:{operation}" for operation in called} <= actions()


def test_every_command_that_needs_a_stage_says_what_rights_it_takes() -> None:
    table = DOCUMENT.partition("| command | statements")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    named = {name for cell, _ in rows for name in re.findall(r"`([\w-]+)`", cell)}
    assert named == {*COMMANDS["Runs"], *COMMANDS["Endpoints"]}
    told = {name for _, cell in rows for name in re.findall(r"`([A-Z]\w+)`", cell)}
    assert told == {statement["Sid"] for statement in statements()} - {"FindTheStage"}
