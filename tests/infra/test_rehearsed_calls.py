"""facts/rehearsed_calls.json belongs to the templates: `finetune verify-aws` asks IAM about these calls.

They are recorded in a stage that imports models.
"""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest

from finetuning_cli.live.resources import StageResources, recorded_calls
from tests.infra.synthesis import Synthesised, synthesise

UNCALLED = {
    "network.NetworkFlowLog",
    "storage.CustomS3AutoDelete",
    "network.CustomVpcRestrict",
    "workflow.Sweeper",
    "workflow.RunSweeper",
    "workflow.FunctionsPromoteModel",
}
"""Roles of AWS's flow log and of the CDK's own functions, whose calls the emulator does not evaluate; of the two
schedules, which no test waits for: each may invoke its function, and nothing else; and of the function that is called
in a stage with `promote_from` alone, where tests/rehearsal/test_promotion.py counts what it uses."""
_EXPORT = re.compile(r"finetune-dev-(\w+):ExportsOutput(?:FnGetAtt|Ref)(\w+?)(?:Arn|GroupId)?[0-9A-F]{8}")


Grant = tuple[str, str, dict[str, Any]]
"""Action, resource and condition; the resource as a pattern of the words of the recording."""


@dataclass(frozen=True)
class Rehearsed:
    """A stage: what its roles are allowed, by `stack.logical id`, and the recorded calls that it is asked about."""

    grants: dict[str, list[Grant]]
    calls: list[dict[str, Any]]

    @classmethod
    def of(cls, stage: Synthesised) -> "Rehearsed":
        resources = {
            f"{stack}.{id}": (resource["Type"], f"{{{stack}.{id}}}")
            for stack, template in stage.templates.items()
            for id, resource in template.to_json()["Resources"].items()
        }
        # Each name stands for itself: the calls keep the words of the recording.
        names = {name: f"{{{name}}}" for name in ("account", "region", "prefix")}
        return cls(_grants(stage), list(StageResources(resources, names).calls()))

    def allows(self, call: dict[str, Any]) -> bool:
        return any(
            fnmatchcase(call["action"], action)
            and fnmatchcase(call["resource"], resource)
            and _by_way_of(condition) in (None, call["keys"].get("kms:viaservice"))
            for action, resource, condition in self.grants.get(call["role"].strip("{}"), [])
        )


@pytest.fixture(scope="module")
def importing(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    """The stage of the recording."""
    return Rehearsed.of(synthesise("dev", tmp_path_factory.mktemp("importing"), bedrock_import=True))


def test_every_recorded_call_is_of_a_role_that_is_granted_it(importing: Rehearsed) -> None:
    stale = [
        f"{call['role']} {call['action']} {call['resource']}" for call in recorded_calls() if not importing.allows(call)
    ]
    assert not stale, "Run `make test-rehearsal rehearsed-calls`: " + ", ".join(stale)
    assert len(importing.calls) == len(recorded_calls())


def test_every_role_with_permissions_has_a_recorded_call(importing: Rehearsed) -> None:
    called = {call["role"] for call in importing.calls}
    without = {role for role, grants in importing.grants.items() if grants and role not in called}
    assert {role for role in without if not role.startswith(tuple(UNCALLED))} == set()


def test_a_stage_that_imports_nothing_is_asked_about_what_it_grants(dev: Synthesised, importing: Rehearsed) -> None:
    """Of the calls of an import it makes only those of its removal, which finds models of an earlier configuration."""
    stage = Rehearsed.of(dev)
    refused = [call for call in importing.calls if not stage.allows(call)]
    assert refused
    assert [call for call in importing.calls if call not in stage.calls] == refused
    by_removal = [call["action"] for call in stage.calls if call["action"].startswith("bedrock:")]
    assert "bedrock:DeleteImportedModel" in by_removal


def test_no_recorded_call_names_an_account_a_region_or_a_stage() -> None:
    text = json.dumps(recorded_calls())
    assert re.findall(r"\b\d{12}\b|\b[a-z]{2}-[a-z]+-\d\b|\bfinetune-\w+", text) == []


def _grants(stage: Synthesised) -> dict[str, list[Grant]]:
    found: dict[str, list[Grant]] = {}
    for stack, template in stage.templates.items():
        resources = template.to_json()["Resources"]
        for id, resource in resources.items():
            if resource["Type"] == "AWS::IAM::Role":
                managed = [each["Ref"] for each in resource["Properties"].get("ManagedPolicyArns", []) if "Ref" in each]
                documents = [
                    *(each["PolicyDocument"] for each in resource["Properties"].get("Policies", [])),
                    *(resources[each]["Properties"]["PolicyDocument"] for each in managed),
                ]
                found[f"{stack}.{id}"] = [grant for document in documents for grant in _allowed(document, stack)]
        for resource in resources.values():
            if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
                for role in resource["Properties"].get("Roles", []):
                    found[f"{stack}.{role['Ref']}"] += _allowed(resource["Properties"]["PolicyDocument"], stack)
    return found


def _allowed(document: dict[str, Any], stack: str) -> list[Grant]:
    """What a policy allows."""
    return [
        (action, _pattern(resource, stack), statement.get("Condition", {}))
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pattern(value: Any, stack: str) -> str:
    """A template's value in the words of the recording. Of another resource only the name is compared."""
    match value:
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": "AWS::Region" | "AWS::AccountId" as name}:
            return {"AWS::Region": "{region}", "AWS::AccountId": "{account}"}[name]
        case {"Ref": name} | {"Fn::GetAtt": [name, _]}:
            return f"*{{{stack}.{name}}}"
        case {"Fn::ImportValue": name}:
            return "*{{{}.{}}}".format(*_EXPORT.fullmatch(name).groups())  # type: ignore[union-attr]  # else it fails
        case {"Fn::Join": [delimiter, items]}:
            return str(delimiter).join(_pattern(item, stack) for item in items)
        case str():
            return value.replace("finetune-dev-", "{prefix}-")
    raise AssertionError(value)


def _by_way_of(condition: dict[str, Any]) -> str | None:
    """The service by which alone a key may be used."""
    service = condition.get("StringEquals", {}).get("kms:ViaService")
    return None if service is None else _pattern(service, "")
