"""Synthesis of a stage for tests: in this process, with the app's own context, without installing the layer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws_cdk import App, Stack
from aws_cdk.assertions import Template

from finetuning_cdk import FineTuning
from finetuning_cdk.config import StageConfig

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("storage", "network", "workflow", "monitoring")

EVERY_OPTION: Mapping[str, Any] = {
    "accept_eula": True,
    "notification_email": "team@example.com",
    "max_cost_usd": 50,
    "monthly_budget_usd": 200,
    "gated_weights": "channel",
    "endpoint_instance_pools": True,
    "training_instance_types": "ml.g5.*",
    "endpoint_instance_types": "ml.g5.2xlarge",
    "data_readers": "arn:aws:iam::123456789012:role/DataScience-*,arn:aws:iam::123456789012:role/Audit",
    "vpc_cidr": "10.0.0.0/22",
    "availability_zones": "us-east-1b,us-east-1d,us-east-1f",
    "log_retention_days": 731,
    "promote_to": "222233334444/prod,333344445555/eu",
    "promote_from": "444455556666/lab",
    "promote_from_bucket": "models-of-lab",
    "promote_from_key": "arn:aws:kms:us-east-1:444455556666:key/0a1b2c3d",
}
"""Each setting that adds to a template or changes it, other than the switches in which dev and prod differ."""

TRAINER, RECEIVER = "111122223333", "222233334444"
"""The accounts of a stage that trains, and of one that promotes its models."""
SOURCE_BUCKET, SOURCE_KEY = "models-of-dev", f"arn:aws:kms:us-east-1:{TRAINER}:key/0a1b2c3d"
PROMOTE_FROM: Mapping[str, Any] = {
    "promote_from": f"{TRAINER}/dev",
    "promote_from_bucket": SOURCE_BUCKET,
    "promote_from_key": SOURCE_KEY,
}


def context_of(stage: str) -> dict[str, Any]:
    context: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]
    return {**context, "stage": stage, "aws:cdk:bundling-stacks": []}


@dataclass(frozen=True)
class Synthesised:
    """A stage, its settings, its assembly's folder, and its templates by the stack's short name."""

    stage: FineTuning
    settings: StageConfig
    folder: Path
    templates: dict[str, Template]

    def resources(self, type: str) -> dict[str, dict[str, Any]]:
        """Resources of a type in all stacks, by logical id."""
        return {
            id: dict(resource)
            for template in self.templates.values()
            for id, resource in template.find_resources(type).items()
        }

    def policy(self, function: str) -> list[dict[str, Any]]:
        """The statements of a function's policy."""
        policies = self.templates["workflow"].find_resources("AWS::IAM::ManagedPolicy")
        (policy,) = [p for id, p in policies.items() if id.startswith(f"Functions{function}Permissions")]
        statements: list[dict[str, Any]] = policy["Properties"]["PolicyDocument"]["Statement"]
        return statements

    def dashboard(self) -> dict[str, Any]:
        """The dashboard's body, with «name» for what CloudFormation fills in."""
        (resource,) = self.resources("AWS::CloudWatch::Dashboard").values()
        parts = resource["Properties"]["DashboardBody"]["Fn::Join"][1]
        text = "".join(part if isinstance(part, str) else f"«{next(iter(part.values()))}»" for part in parts)
        body: dict[str, Any] = json.loads(text)
        return body


def synthesise(stage: str, folder: Path, **options: Any) -> Synthesised:
    """The stage with these options in place of its own settings."""
    context = context_of(stage) | options
    app = App(context=context, outdir=str(folder))
    built = FineTuning.from_context(app)
    templates = {name: Template.from_stack(_stack(built, name)) for name in STACKS}
    return Synthesised(built, built.config, folder, templates)


def _stack(stage: FineTuning, name: str) -> Stack:
    stack = getattr(stage, name)
    assert isinstance(stack, Stack)
    return stack


def as_filled(value: Any) -> Any:
    """A template's value with names as long as they can be, such as 63 characters of a bucket, for references."""
    match value:
        case {"Ref": "AWS::Region"}:
            return "ap-southeast-2"
        case {"Ref": "AWS::AccountId"}:
            return "1" * 12
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": _}:
            return "<" + "n" * 100 + ">"
        case {"Fn::ImportValue": name}:
            return "<" + ("k" * 78 if "Key" in name else "b" * 76) + ">"
        case {"Fn::GetAtt": [_, attribute]}:
            return "<" + ("n" * 60 if attribute == "Name" else "a" * 130) + ">"
        case {"Fn::Join": [delimiter, items]}:
            return str(delimiter).join(map(as_filled, items))
        case {"Fn::Select": _} | {"Fn::Split": _}:
            return "<" + "n" * 60 + ">"
        case dict():
            return {name: as_filled(each) for name, each in value.items()}
        case list():
            return [as_filled(each) for each in value]
    return value
