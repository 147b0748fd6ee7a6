"""facts/rehearsed_calls.json belongs to the templates: `finetune verify-aws` asks IAM about these calls."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest

from finetuning_cli.live.resources import recorded_calls
from tests.infra.synthesis import Synthesised

UNCALLED = {
    "network.NetworkFlowLog",
    "storage.CustomS3AutoDelete",
    "network.CustomVpcRestrict",
    "workflow.Sweeper",
    "workflow.RunSweeper",
    "workflow.FunctionsImportModel",
    "workflow.FunctionsDescribeImport",
    "workflow.FunctionsSwitchAlias",
}
"""Roles of AWS's flow log and of the CDK's own functions, whose calls the emulator does not evaluate; and of the two
schedules, which no test waits for: each may invoke its function, and nothing else. And the steps of an import, which a
stage that imports no models never calls."""


@pytest.fixture(scope="module")
def granted(dev: Synthesised) -> dict[str, list[str]]:
    """The actions that each role is allowed, by `stack.logical id`."""
    found: dict[str, list[str]] = {}
    for stack, template in dev.templates.items():
        resources = template.to_json()["Resources"]
        for id, resource in resources.items():
            if resource["Type"] == "AWS::IAM::Role":
                managed = [each["Ref"] for each in resource["Properties"].get("ManagedPolicyArns", []) if "Ref" in each]
                documents = [
                    *(each["PolicyDocument"] for each in resource["Properties"].get("Policies", [])),
                    *(resources[each]["Properties"]["PolicyDocument"] for each in managed),
                ]
                found[f"{stack}.{id}"] = [action for document in documents for action in _allowed(document)]
        for resource in resources.values():
            if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
                for role in resource["Properties"].get("Roles", []):
                    found[f"{stack}.{role['Ref']}"] += _allowed(resource["Properties"]["PolicyDocument"])
    return found


def test_every_recorded_call_is_of_a_role_that_is_granted_it(granted: dict[str, list[str]]) -> None:
    stale = [
        f"{call['role']} {call['action']}"
        for call in recorded_calls()
        if not any(fnmatchcase(call["action"], pattern) for pattern in granted.get(call["role"].strip("{}"), []))
    ]
    assert not stale, "Run `make test-rehearsal rehearsed-calls`: " + ", ".join(stale)


def test_every_role_with_permissions_has_a_recorded_call(granted: dict[str, list[str]]) -> None:
    called = {call["role"].strip("{}") for call in recorded_calls()}
    without = {role for role, actions in granted.items() if actions and role not in called}
    assert {role for role in without if not role.startswith(tuple(UNCALLED))} == set()


def test_no_recorded_call_names_an_account_or_a_region() -> None:
    text = json.dumps(recorded_calls())
    assert re.findall(r"\b\d{12}\b|\b[a-z]{2}-[a-z]+-\d\b", text) == []


def _allowed(document: dict[str, Any]) -> list[str]:
    """The actions that a policy allows."""
    return [
        action
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    ]
