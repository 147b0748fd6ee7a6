"""What a role may do: one managed policy a role, every statement with its reason."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct, IConstruct

from infra.constructs.acknowledgements import acknowledge, wildcard_finding

Conditions = Mapping[str, Mapping[str, Any]]


class Permissions(iam.ManagedPolicy):
    """A policy that is built statement by statement.

    A wildcard in a resource is acknowledged for its statement's reason, that one finding only: another statement's
    wildcard stays a finding.
    """

    def allow(self, *actions: str, on: Sequence[str], because: str, when: Conditions | None = None) -> Self:
        """Allows the actions on the resources; `because` says why these and no fewer."""
        self.add_statements(iam.PolicyStatement(actions=list(actions), resources=list(on), conditions=when))
        for resource in on:
            if "*" in resource:
                acknowledge(self, wildcard_finding(self, resource), because=because)
        return self

    def allow_in_this_region(self, *actions: str, because: str) -> Self:
        """For actions that know no resource: nothing narrower than the region can be said."""
        region = {"StringEquals": {"aws:RequestedRegion": Stack.of(self).region}}
        return self.allow(*actions, on=["*"], because=because, when=region)

    def allow_to_trace(self) -> Self:
        """Sends traces to X-Ray."""
        actions = (
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        )
        return self.allow(*actions, on=["*"], because="X-Ray has no resources to name")


def depend_on_role_alone(resource: IConstruct) -> None:
    """Takes back the dependencies CDK declares beside the role's reference: the role already brings its permissions."""
    template_resource = resource.node.default_child
    assert isinstance(template_resource, CfnResource)
    template_resource.add_deletion_override("DependsOn")


def service_role(scope: Construct, id: str, *, service: str, permissions: Permissions | None = None) -> iam.Role:
    """A role for an AWS service acting for this account alone: another account's resource cannot make it act."""
    return iam.Role(
        scope,
        id,
        assumed_by=iam.ServicePrincipal(
            service, conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}}
        ),
        managed_policies=None if permissions is None else [permissions],
    )
