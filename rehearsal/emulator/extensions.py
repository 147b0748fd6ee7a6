"""Everything added to the emulator, in one place, each with what is thereby not rehearsed.

Additions go through the emulator's registries; mends replace a function of its modules and are each in a module of
their own (`functions`, `workflow`, `storage`, `events`, `permissions`). tests/rehearsal has a canary for every one of
them, so that the emulator's next version cannot break them silently.
"""

from dataclasses import dataclass
from typing import Any

from ministack import app as ministack
from ministack.core import iam_actions, router
from ministack.services.cloudformation import provisioners

from rehearsal.emulator import account, events, functions, permissions, storage, workflow
from rehearsal.emulator.sagemaker.service import SageMakerService
from rehearsal.emulator.world import World


@dataclass(frozen=True)
class Stub:
    """A CloudFormation type that is accepted and does nothing."""

    resource_type: str
    not_rehearsed: str

    def register(self) -> None:
        provisioners._RESOURCE_HANDLERS.setdefault(
            self.resource_type, {"create": self._create, "update": self._update, "delete": _ignore}
        )

    def _create(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        physical_id = f"{stack}-{logical_id}"
        return physical_id, {"Arn": f"arn:aws:rehearsal:::{physical_id}", "Id": physical_id}

    def _update(self, physical_id: str, *_: Any) -> tuple[str, dict[str, Any]]:
        return physical_id, {"Arn": f"arn:aws:rehearsal:::{physical_id}", "Id": physical_id}


STUBS = (
    Stub("AWS::EC2::FlowLog", "that flow logs are written, and their role"),
    Stub("AWS::EC2::SecurityGroupIngress", "which traffic the security groups let in"),
    Stub("AWS::EC2::SecurityGroupEgress", "which traffic the security groups let out"),
    Stub("AWS::CloudWatch::CompositeAlarm", "that alarms are raised together"),
    Stub("AWS::ApplicationAutoScaling::ScalableTarget", "that endpoints scale"),
    Stub("AWS::ApplicationAutoScaling::ScalingPolicy", "that endpoints scale"),
    Stub("AWS::Budgets::Budget", "that a budget warns"),
    Stub("AWS::StepFunctions::StateMachineVersion", "versions of the state machine"),
    Stub("AWS::StepFunctions::StateMachineAlias", "aliases of the state machine"),
    Stub("Custom::VpcRestrictDefaultSG", "that the VPC's default security group is emptied"),
)


def _ignore(*_: Any) -> None:
    """There is nothing to delete."""


def install(world: World) -> None:
    """Adds all of it. To be called once, after the emulator was imported and before it serves."""
    for stub in STUBS:
        stub.register()
    provisioners._RESOURCE_HANDLERS["Custom::S3AutoDeleteObjects"] = _bucket_emptying(world)
    _add_service("sagemaker", "SageMaker.", SageMakerService(world).handle_request)
    _add_service("servicequotas", "ServiceQuotasV20190624.", account.handle_request)
    _add_service("pricing", "AWSPriceListService.", account.handle_request)
    functions.install(world.faults, world.pandas_layer)
    workflow.install()
    storage.install()
    events.install(world.faults)
    permissions.install()


def _add_service(name: str, target_prefix: str, handle: Any) -> None:
    """Routes a service by its JSON target, and by the name it signs with, to its handler and to its IAM actions."""
    ministack.SERVICE_HANDLERS[name] = handle
    router.SERVICE_PATTERNS[name] = {"target_prefixes": [target_prefix]}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[name] = name


def _bucket_emptying(world: World) -> dict[str, Any]:
    """What the CDK's `auto_delete_objects` does with a Node function, done here: the emulator has no Node SDK.

    Not rehearsed: that function, its role and its reading of the bucket's tag.
    """

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        return f"{stack}-{logical_id}", {}

    def delete(physical_id: str, properties: dict[str, Any]) -> None:
        s3 = world.client("s3")
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=properties["BucketName"]):
            versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            if versions:
                doomed = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]
                s3.delete_objects(Bucket=properties["BucketName"], Delete={"Objects": doomed})

    return {"create": create, "update": lambda physical_id, *_: (physical_id, {}), "delete": delete}
