"""The managed policies for people: what they allow, how long they are, and what the documents say of them."""

import re
from typing import Any

import boto3
import pytest

from finetuning_cli.main import COMMANDS
from tests.infra.synthesis import ROOT, Synthesised, as_filled

POLICIES = ("Viewer", "DataScientist", "Operator")
"""Each allows what the one before it allows."""
NO_OPERATION = {
    "s3:ListBucket",
    "s3:GetObjectVersion",
    "iam:CreateServiceLinkedRole",
    "sagemaker:CallWithBearerToken",
}
"""Actions without an operation of the same name: S3 requires two for ListObjectsV2 and for reading a version, SageMaker
one for a call with a bearer token.
"""
SERVICES = {
    "states": ("stepfunctions",),
    "monitoring": ("cloudwatch",),
    "sagemaker": ("sagemaker", "sagemaker-runtime"),
    "bedrock": ("bedrock", "bedrock-runtime"),
}
"""IAM's prefix of an action → boto3's services with its operations, where they are not the same."""


def statements(stage: Synthesised, policy: str) -> list[dict[str, Any]]:
    found = stage.templates["workflow"].find_resources("AWS::IAM::ManagedPolicy")
    (document,) = [each["Properties"]["PolicyDocument"] for id, each in found.items() if id.startswith(f"Team{policy}")]
    listed: list[dict[str, Any]] = document["Statement"]
    return listed


def actions(stage: Synthesised, policy: str) -> set[str]:
    listed = [statement["Action"] for statement in statements(stage, policy)]
    return {action for each in listed for action in ([each] if isinstance(each, str) else each)}


def test_each_policy_allows_more_than_the_one_before_it(dev: Synthesised) -> None:
    viewer, data_scientist, operator = (actions(dev, policy) for policy in POLICIES)
    assert viewer < data_scientist < operator
    assert not [each for each in viewer if re.search(r":(Put|Create|Delete|Update|Start|Stop|Send|Add|Invoke)", each)]
    assert "states:SendTaskSuccess" not in data_scientist
    assert not [each for each in data_scientist if re.search(r":Delete|:Update", each)]


def test_people_list_ask_extend_and_delete_imported_models_by_their_policy(
    dev: Synthesised, importing: Synthesised
) -> None:
    viewer, data_scientist, operator = (
        {action for action in actions(importing, policy) if action.startswith("bedrock:")} for policy in POLICIES
    )
    assert viewer == {"bedrock:ListImportedModels", "bedrock:ListModelImportJobs", "bedrock:ListTagsForResource"}
    asking = {"bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"}
    assert data_scientist == viewer | asking | {"bedrock:TagResource"}
    assert operator == data_scientist | {"bedrock:DeleteImportedModel"}
    assert not [action for action in actions(dev, "Operator") if action.startswith("bedrock:")]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_action_exists(importing: Synthesised, policy: str) -> None:
    allowed = actions(importing, policy)
    known = {
        f"{prefix}:{operation}"
        for prefix in {action.partition(":")[0] for action in allowed} - {"iam"}
        for service in SERVICES.get(prefix, (prefix,))
        for operation in boto3.client(service, region_name="eu-west-1").meta.service_model.operation_names
    }
    assert sorted(allowed - known - NO_OPERATION) == []


@pytest.mark.parametrize("prefix", ["states", "cloudformation"])
def test_the_operator_may_make_every_call_of_the_commands(dev: Synthesised, prefix: str) -> None:
    """Except those of verify-aws and first-run, which docs/first-run.md lists."""
    folder = ROOT / "cli" / "finetuning_cli"
    sources = [path for path in folder.rglob("*.py") if "live" not in path.parts]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    (service,) = SERVICES.get(prefix, (prefix,))
    operations: dict[str, str] = boto3.client(service, region_name="eu-west-1").meta.method_to_api_mapping
    called = {operations[name] for name in re.findall(r"\.(\w+)\(", source) if name in operations}
    assert called
    assert {f"{prefix}:{operation}" for operation in called} <= actions(dev, "Operator")


def test_every_command_on_a_stage_is_documented_with_its_policy() -> None:
    document = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    table = document.partition("| commands | least policy |")[2].partition("\n\n")[0]
    named = re.findall(r"`([\w-]+)`", table)
    assert sorted(named) == sorted([*COMMANDS["Runs"], *COMMANDS["Endpoints"]])


def test_no_policy_changes_anything_of_another_stage(dev: Synthesised) -> None:
    """What it may change has the stage's prefix, is a resource of the stage, or is limited by a condition."""
    for statement in statements(dev, "Operator"):
        listed = statement["Resource"]
        for resource in listed if isinstance(listed, list) else [listed]:
            text = as_filled(resource)
            named = "finetune-dev" in text or "<" in text
            assert named or "Condition" in statement or _only_reads(statement), text


def _only_reads(statement: dict[str, Any]) -> bool:
    listed = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    return all(re.search(r":(Describe|Get|List)", action) for action in listed)
