"""A stage's deployed resources, by the names that its templates give them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code
from finetuning_cli.errors import cli_errors
from finetuning_cli.stage.deployment import PREFIX

STACKS = ("storage", "network", "workflow", "monitoring")
RECORDED = Path(__file__).resolve().parents[1] / "facts" / "rehearsed_calls.json"
_NAME = re.compile(r"\{([\w.]+)\}")
_IMPORT_ROLE = "workflow.ImportRole"
"""A stage has this role if it may import models into Bedrock."""


@dataclass(frozen=True)
class StageResources:
    """`resources`: `stack.logical id` → type and physical id. `names` are what the templates' other names stand for."""

    resources: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]

    @classmethod
    def find(cls, stage: str, account: str, region: str) -> "StageResources":
        """Of a stage that is not deployed it has none. Raises `FineTuningError` as `cli_errors`."""
        found = {}
        for stack in STACKS:
            for each in _resources(f"{PREFIX}{stage}-{stack}"):
                kind, physical_id = each["ResourceType"], each.get("PhysicalResourceId", "")
                found[f"{stack}.{each['LogicalResourceId']}"] = (kind, physical_id)
        return cls(found, {"account": account, "region": region, "prefix": PREFIX + stage})

    def of_type(self, kind: str) -> dict[str, str]:
        """Physical ids by name."""
        return {name: physical_id for name, (each, physical_id) in self.resources.items() if each == kind}

    def fill(self, text: str) -> str | None:
        """The text with real names in place of the templates'; None if the stage has no such resource."""
        values = {name: physical_id.rpartition(":")[2] for name, (_, physical_id) in self.resources.items()}
        values |= self.names
        if not all(name in values for name in _NAME.findall(text)):
            return None
        return _NAME.sub(lambda found: values[found[1]], text)

    def calls(self) -> Iterator[dict[str, Any]]:
        """The recorded calls that its roles make, with its own names; `role` as in `resources`."""
        may_import = any(name.startswith(_IMPORT_ROLE) for name in self.of_type("AWS::IAM::Role"))
        for call in recorded_calls():
            role, keys = call["role"].strip("{}"), self.fill(json.dumps(call["keys"]))
            resource = self.fill(call["resource"])
            if role not in self.resources or resource is None or keys is None:
                continue
            if may_import or not _is_of_import(call):
                yield {"role": role, "action": call["action"], "resource": resource, "keys": json.loads(keys)}


def recorded_calls() -> list[dict[str, Any]]:
    """The calls of facts/rehearsed_calls.json: `role`, `action`, `resource` and condition `keys`, in template names."""
    calls: list[dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return calls


def _is_of_import(call: Mapping[str, Any]) -> bool:
    """Whether only a stage that imports models may make the call; tests/infra compares this with the templates."""
    if call["role"].startswith("{workflow.FunctionsRemoveRuns"):
        return False  # it deletes imported models in any case: the stage may have imported some before
    action, resource = str(call["action"]), str(call["resource"])
    by_bedrock = action.startswith("bedrock:") or str(call["keys"].get("kms:viaservice")).startswith("bedrock.")
    # The one function whose only files are the names of imported models.
    names = call["role"].startswith("{workflow.FunctionsSweepEndpoints") and action == "kms:GenerateDataKey"
    return by_bedrock or names or resource.endswith("/alias.json")


def _resources(stack: str) -> list[dict[str, Any]]:
    with cli_errors(f"list the resources of {stack}"):
        try:
            pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
            return [each for page in pages for each in page["StackResourceSummaries"]]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in str(error):
                return []
            raise
