"""A network, a key and a bucket of the caller's: what they must be like, checked when the app is synthesised.

Of resources of the same app everything is checked here. Of imported ones CDK knows little more than their names: what
cannot be seen is one warning, which `Annotations.of(…).acknowledge_warning(UNSEEN)` ends.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jsii
from aws_cdk import Annotations, CfnResource, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct, IValidation

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.acknowledgements import flat
from finetuning_cdk.constructs.stage_key import DENY_OTHER_READERS, service_statements

UNSEEN = "finetuning:imported-resources"
"""The id of the warning about what cannot be checked."""


@jsii.implements(IValidation)
class OwnResources:
    """Adds the checks to a stage: its synthesis fails with everything that is missing of what it was given."""

    def __init__(
        self,
        stage: Construct,
        *,
        config: StageConfig,
        vpc: ec2.IVpc | None,
        key: kms.IKey | None,
        uploads: s3.IBucket | None,
    ) -> None:
        self._stage, self._config = stage, config
        self._vpc, self._key, self._uploads = vpc, key, uploads
        unseen = [*self._prepare_key(), *self._unseen_of_network(), *self._unseen_of_uploads()]
        if unseen:
            text = "Imported resources cannot be checked at synthesis. Make sure that " + "; ".join(unseen) + "."
            Annotations.of(stage).add_warning_v2(UNSEEN, text)
        stage.node.add_validation(self)

    def validate(self) -> list[str]:
        """What is missing, for CDK to report with the construct's path."""
        return [*self._missing_of_network(), *self._missing_of_key(), *self._missing_of_uploads()]

    # The network

    @property
    def _services(self) -> list[str]:
        """The endpoints that the VPC needs, by the last part of their service's name."""
        return ["s3", *(self._config.services.values() if self._config.control_functions_in_vpc else ())]

    def _unseen_of_network(self) -> Iterator[str]:
        if self._vpc is not None and not isinstance(self._vpc, ec2.Vpc):
            yield f"the VPC has endpoints, reachable from its isolated subnets, of {', '.join(self._services)}"

    def _missing_of_network(self) -> Iterator[str]:
        if self._vpc is None:
            return
        zones = {subnet.availability_zone for subnet in self._vpc.isolated_subnets}
        if len(zones) < 2:
            yield (
                f"vpc: it has isolated subnets in {len(zones)} zones, and needs them in two or more: subnets of the "
                "type PRIVATE_ISOLATED, without a route to the internet"
            )
        if not isinstance(self._vpc, ec2.Vpc):
            return
        if not (self._vpc.dns_hostnames_enabled and self._vpc.dns_support_enabled):
            yield "vpc: DNS support and DNS host names must be enabled, by which endpoints are found"
        endpoints = list(self._endpoints())
        there = {_service(each) for each in endpoints}
        if missing := [service for service in self._services if service not in there]:
            yield f"vpc: it has no endpoint of {', '.join(missing)}; the functions in it reach AWS by no other way"
        found_by_name = {_service(each) for each in endpoints if each.private_dns_enabled is True}
        for service in self._services:
            if service != "s3" and service in there - found_by_name:
                yield f"vpc: the endpoint of {service} has no private DNS; enable it"
        if "s3" in there:
            # It may have interface endpoints of S3 as well, for others.
            yield from self._missing_of_gateway([each for each in endpoints if each.vpc_endpoint_type == "Gateway"])

    def _missing_of_gateway(self, gateways: Sequence[ec2.CfnVPCEndpoint]) -> Iterator[str]:
        assert self._vpc is not None
        of_s3 = [each for each in gateways if _service(each) == "s3"]
        tables = [table for each in of_s3 for table in Stack.of(each).resolve(each.route_table_ids) or []]
        without = [
            subnet.node.path
            for subnet in self._vpc.isolated_subnets
            if Stack.of(subnet).resolve(subnet.route_table.route_table_id) not in tables
        ]
        if without:
            yield f"vpc: the gateway endpoint of s3 is not in the route tables of {', '.join(without)}"

    def _endpoints(self) -> Iterator[ec2.CfnVPCEndpoint]:
        """Those of the VPC, made anywhere in its stack or in the stacks beside it."""
        assert self._vpc is not None
        for child in self._stage.node.root.node.children:
            if child.node.path == self._stage.node.path:
                continue
            for each in child.node.find_all():
                if isinstance(each, ec2.CfnVPCEndpoint) and each.vpc_id == self._vpc.vpc_id:
                    yield each

    # The key

    @property
    def _suffix(self) -> str:
        """What this stage's statements in the key's policy end in."""
        return self._config.stage.title()

    def _prepare_key(self) -> Iterator[str]:
        """Adds the statements for AWS's services to a key of the app; says which an imported one must have."""
        if self._key is None:
            return
        stack = Stack.of(self._key)
        statements = service_statements(stack, self._config, suffix=self._suffix)
        added = [self._key.add_to_resource_policy(statement).statement_added for statement in statements]
        if not all(added):
            policy = json.dumps([flat_values(stack.resolve(each.to_statement_json())) for each in statements])
            yield f"the key rotates, and its policy leaves permissions to IAM and has the statements {policy}"

    def _missing_of_key(self) -> Iterator[str]:
        if self._key is None:
            if self._uploads is not None:
                yield "key: give the key with which the bucket uploads is encrypted"
            return
        if ":alias/" in json.dumps(Stack.of(self._key).resolve(self._key.key_arn)):
            yield (
                "key: it is an alias, by whose ARN no policy allows the use of the key; give the key itself, such as "
                'kms.Key.from_lookup(…, alias_name="alias/…")'
            )
            return
        resource = _template_resource(self._key)
        if not isinstance(resource, kms.CfnKey):
            return
        if resource.enable_key_rotation is not True:
            yield "key: rotation is off; set enable_key_rotation=True"
        if resource.key_spec not in (None, "SYMMETRIC_DEFAULT"):
            yield f"key: its spec is {resource.key_spec}, and S3 encrypts with SYMMETRIC_DEFAULT keys only"
        policy = Stack.of(resource).resolve(resource.key_policy)
        denials = {sid for each in policy["Statement"] if (sid := each.get("Sid", "")).startswith(DENY_OTHER_READERS)}
        if denials - {DENY_OTHER_READERS + self._suffix}:
            yield "key: a stage with data_readers shares it, and denies decrypting to this one: give each its own"
        if not any(_delegates_to_iam(statement) for statement in policy["Statement"]):
            yield "key: its policy does not leave permissions to IAM (kms:* for the account's root), which roles need"

    # The bucket

    def _unseen_of_uploads(self) -> Iterator[str]:
        if self._uploads is not None and not isinstance(_template_resource(self._uploads), s3.CfnBucket):
            yield (
                "the bucket uploads is encrypted with the key, keeps versions, sends its events to EventBridge, blocks "
                "public access and refuses requests without TLS"
            )

    def _missing_of_uploads(self) -> Iterator[str]:
        if self._uploads is None:
            return
        encrypted_with = self._uploads.encryption_key
        resource = _template_resource(self._uploads)
        known = encrypted_with is not None or isinstance(resource, s3.CfnBucket)
        same = encrypted_with is not None and self._key is not None and encrypted_with.key_arn == self._key.key_arn
        if self._key is not None and known and not same:
            yield "uploads: it is not encrypted with the key; set encryption_key to the same key"
        if not isinstance(resource, s3.CfnBucket):
            return
        stack = Stack.of(resource)
        # Not by the typed properties: jsii would take BlockPublicAccess.BLOCK_ALL for another type from then on.
        properties: dict[str, Any] = stack.resolve(resource._cfn_properties)
        if properties.get("versioningConfiguration", {}).get("status") != "Enabled":
            yield "uploads: it keeps no versions, by which runs read their data; set versioned=True"
        if not self._sends_events(properties):
            yield "uploads: it sends no events to EventBridge, which start runs; set event_bridge_enabled=True"
        blocked = properties.get("publicAccessBlockConfiguration", {})
        if not (len(blocked) == 4 and all(value is True for value in blocked.values())):
            yield "uploads: public access is not blocked; set block_public_access=BlockPublicAccess.BLOCK_ALL"
        policy = self._uploads.policy
        statements = stack.resolve(policy.document)["Statement"] if policy else []
        if not any(_requires_tls(statement) for statement in statements):
            yield "uploads: it takes requests without TLS; set enforce_ssl=True"

    def _sends_events(self, properties: dict[str, Any]) -> bool:
        """By the bucket's own property, or by the CDK's custom resource."""
        assert self._uploads is not None
        if "eventBridgeConfiguration" in properties.get("notificationConfiguration", {}):
            return True
        return any(
            isinstance(each, CfnResource) and each.cfn_resource_type == "Custom::S3BucketNotifications"
            for each in self._uploads.node.find_all()
        )


def _template_resource(construct: IConstruct) -> Any:
    """What it is in the template; None for an imported one."""
    return construct.node.default_child


def _service(endpoint: ec2.CfnVPCEndpoint) -> str:
    """`sagemaker.api` of com.amazonaws.<region>.sagemaker.api, or `s3`."""
    return flat(Stack.of(endpoint).resolve(endpoint.service_name)).split(".", 3)[-1]


def _delegates_to_iam(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    root = isinstance(principal, dict) and str(flat_values(principal.get("AWS", ""))).endswith(":root")
    return root and (statement["Effect"], statement["Action"]) == ("Allow", "kms:*")


def _requires_tls(statement: dict[str, Any]) -> bool:
    insecure = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
    return (statement["Effect"], insecure) == ("Deny", "false")


def flat_values(value: Any) -> Any:
    """A template value with what CloudFormation fills in as text."""
    match value:
        case {"Fn::Join": _} | {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::ImportValue": _}:
            return flat(value)
        case dict():
            return {name: flat_values(each) for name, each in value.items()}
        case list():
            return [flat_values(each) for each in value]
    return value
