"""All additions to the emulator, each with what it does not emulate.

Additions use the emulator's registries. Patches replace a function of its modules; each is in a module of its own
(`functions`, `refusals`, `interfaces`, `zones`, `workflow`, `redrive`, `storage`, `events`, `permissions`, `policies`,
`deliveries`, `grants`, `elsewhere`). tests/rehearsal has a test for each of them, so that the next version of the
emulator cannot break one silently.

Not emulated: policies of VPC endpoints, isolation of subnets, alarms, X-Ray, and late events.
The docstring of each stand-in lists what it leaves out.
"""

from dataclasses import dataclass
from typing import Any

from ministack import app as ministack
from ministack.core import iam_actions, router
from ministack.services import ec2, tagging
from ministack.services.cloudformation import provisioners

from rehearsal.emulator import (
    account,
    deliveries,
    elsewhere,
    events,
    functions,
    grants,
    interfaces,
    monitoring,
    permissions,
    policies,
    redrive,
    refusals,
    storage,
    workflow,
    zones,
)
from rehearsal.emulator.bedrock.service import BedrockService
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.sagemaker.service import SageMakerService
from rehearsal.emulator.scaling import Scaling


@dataclass(frozen=True)
class Stub:
    """A CloudFormation type that is accepted and does nothing."""

    resource_type: str

    def register(self) -> None:
        handlers = {"create": self._create, "update": self._update, "delete": _ignore}
        provisioners._RESOURCE_HANDLERS[self.resource_type] = handlers

    def _create(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        physical_id = f"{stack}-{logical_id}"
        return physical_id, {"Arn": f"arn:aws:rehearsal:::{physical_id}", "Id": physical_id}

    def _update(self, physical_id: str, *_: Any) -> tuple[str, dict[str, Any]]:
        return physical_id, {"Arn": f"arn:aws:rehearsal:::{physical_id}", "Id": physical_id}


STUBS = (
    Stub("AWS::EC2::FlowLog"),  # not rehearsed: that flow logs are written, and their role
    Stub("AWS::EC2::SecurityGroupIngress"),  # which traffic the security groups let in
    Stub("AWS::EC2::SecurityGroupEgress"),  # and out
)


ENDPOINT_SERVICES = (
    *("sagemaker.api", "sagemaker.runtime", "states", "application-autoscaling", "servicequotas"),
    *("bedrock", "bedrock-runtime"),
)
"""Services with interface endpoints that the emulator's list lacks."""


def _ignore(*_: Any) -> None:
    """There is nothing to delete."""


@dataclass(frozen=True)
class Services:
    """The stand-ins that know what costs money."""

    sagemaker: SageMakerService
    bedrock: BedrockService

    def costing(self) -> list[dict[str, Any]]:
        """What would cost money now, each job, endpoint and imported model with its tags."""
        return [*self.sagemaker.costing(), *self.bedrock.costing()]


def install(context: EmulatorContext) -> Services:
    """Adds all of it. To be called once, after the emulator was imported and before it serves."""
    for stub in STUBS:
        stub.register()
    ec2._VPCE_INTERFACE_SERVICES += ENDPOINT_SERVICES
    scaling = Scaling()
    sagemaker = SageMakerService(context, scaling)
    bedrock = BedrockService(context)
    ministack.SERVICE_HANDLERS |= {"bedrock": bedrock.handle_control, "bedrock-runtime": bedrock.handle_runtime}
    tagging.resource_tags = bedrock.knowing_tags(tagging.resource_tags)
    _add_service("sagemaker", "SageMaker.", sagemaker.handle_request)
    _add_service("application-autoscaling", "AnyScaleFrontendService.", scaling.handle_request)
    _add_service("servicequotas", "ServiceQuotasV20190624.", account.handle_request)
    _add_service("pricing", "AWSPriceListService.", account.handle_request)
    _add_service("access-analyzer", "AccessAnalyzer.", policies.validate)
    policies.install()
    monitoring.install()
    permissions.install()
    refusals.limit_sizes()
    functions.install(context.faults, context.parquet_layer)
    refusals.install(context.faults)
    interfaces.install(context.faults)
    zones.install(context.faults)
    workflow.install()
    redrive.install()
    storage.install()
    elsewhere.install()
    events.install(context.faults)
    deliveries.install()
    grants.install()
    return Services(sagemaker, bedrock)


def _add_service(name: str, target_prefix: str, handle: Any) -> None:
    """Routes a service by its JSON target, and by the name it signs with, to its handler and to its IAM actions."""
    ministack.SERVICE_HANDLERS[name] = handle
    router.SERVICE_PATTERNS[name] = {"target_prefixes": [target_prefix]}
    iam_actions.SERVICE_TO_IAM_NAMESPACE[name] = name
