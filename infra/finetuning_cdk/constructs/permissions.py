"""What a role may do: managed policies, every statement with its reason."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from aws_cdk import CfnResource, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct, IConstruct

from finetuning_cdk.constructs.acknowledgements import acknowledge, wildcard_finding

Conditions = Mapping[str, Mapping[str, Any]]


class Allows:
    """What can be allowed something: a policy, or a grantee."""

    def allow(self, *actions: str, on: Sequence[str], because: str, when: Conditions | None = None) -> Self:
        """Allows the actions on the resources; `because` says why they are needed."""
        raise NotImplementedError

    def use_key(
        self, key: kms.IKey, *actions: str, by: str = "s3", because: str = "S3 encrypts with the stage's key"
    ) -> Self:
        """Allows the key's use by that service alone, in calls of whoever is allowed this."""
        via = {"StringEquals": {"kms:ViaService": f"{by}.{Stack.of(key).region}.amazonaws.com"}}
        return self.allow(*actions, on=[key.key_arn], because=because, when=via)


class Permissions(Allows, iam.ManagedPolicy):
    """A policy that is built statement by statement.

    A wildcard in a resource is acknowledged with its statement's reason, and only that finding: a wildcard of another
    statement is still reported.
    """

    def allow(self, *actions: str, on: Sequence[str], because: str, when: Conditions | None = None) -> Self:
        self.add_statements(iam.PolicyStatement(actions=list(actions), resources=list(on), conditions=when))
        for resource in on:
            if "*" in resource:
                acknowledge(self, wildcard_finding(self, resource), because=because)
        return self

    def allow_in_this_region(self, *actions: str, because: str) -> Self:
        """For actions without resource-level permissions: the region is the narrowest limit."""
        region = {"StringEquals": {"aws:RequestedRegion": Stack.of(self).region}}
        return self.allow(*actions, on=["*"], because=because, when=region)

    def allow_tracing(self) -> Self:
        """Sends traces to X-Ray."""
        actions = (
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        )
        return self.allow(*actions, on=["*"], because="X-Ray has no resource-level permissions")


def depend_on_role_alone(resource: IConstruct) -> None:
    """Removes the dependencies that CDK adds to the reference to the role: the role includes its permissions."""
    template_resource = resource.node.default_child
    assert isinstance(template_resource, CfnResource)
    template_resource.add_deletion_override("DependsOn")


def service_role(
    scope: Construct, id: str, *, service: str, permissions: Permissions | None = None, source: str = ""
) -> iam.Role:
    """A role that an AWS service assumes for this account only: resources of other accounts cannot use it. `source`:
    pattern of the ARNs of those that may, if not all.
    """
    conditions: dict[str, dict[str, str]] = {"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}}
    if source:
        conditions["ArnLike"] = {"aws:SourceArn": source}
    return iam.Role(
        scope,
        id,
        assumed_by=iam.ServicePrincipal(service, conditions=conditions),
        managed_policies=None if permissions is None else [permissions],
    )
