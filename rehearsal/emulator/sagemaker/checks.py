"""What SageMaker checks about a request beyond its form: the things it names must exist and fit together."""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.sagemaker.errors import Refused, invalid

_NVME_FAMILIES = frozenset(
    [
        "c5d",
        "g4dn",
        "g5",
        "g6",
        "g6e",
        "i3en",
        "m5d",
        "m6id",
        "m7gd",
        "p3dn",
        "p4d",
        "p4de",
        "p5",
        "p5e",
        "p5en",
        "p6-b200",
        "r5d",
        "r7gd",
        "trn1",
        "trn1n",
        "trn2",
    ]
)
"""Instance families with local NVMe storage, which is encrypted by the hardware and refuses a key."""


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def objects(s3: Any, uri: str) -> Iterator[str]:
    """The keys under an S3 URI."""
    bucket, prefix = split_uri(uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", []))


def has_objects(s3: Any, uri: str) -> str | None:
    """None when there are objects under the URI and they may be listed, else S3's reason."""
    try:
        return None if next(objects(s3, uri), None) else "no object has this prefix"
    except ClientError as error:
        return str(error)


def role_can_be_assumed(context: EmulatorContext, role_arn: str) -> None:
    try:
        role = context.client("iam").get_role(RoleName=role_arn.rsplit("/", 1)[-1])["Role"]
    except ClientError:
        role = {}
    if "sagemaker.amazonaws.com" not in str(role.get("AssumeRolePolicyDocument")):
        raise invalid(
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            "'sagemaker.amazonaws.com' to assume the role."
        )


def network_exists(context: EmulatorContext, vpc: dict[str, Any] | None) -> None:
    if not vpc:
        return
    ec2 = context.client("ec2")
    try:
        subnets = ec2.describe_subnets(SubnetIds=vpc["Subnets"])["Subnets"]
        groups = ec2.describe_security_groups(GroupIds=vpc["SecurityGroupIds"])["SecurityGroups"]
    except ClientError as error:
        raise invalid(f"Unable to find the subnets or security groups: {error}") from error
    if len({item["VpcId"] for item in (*subnets, *groups)}) != 1:
        raise invalid("The subnets and the security groups must belong to one VPC.")


def volume_key_fits(instance_type: str, key: str | None, member: str) -> None:
    if key and instance_type.removeprefix("ml.").split(".")[0] in _NVME_FAMILIES:
        raise invalid(
            f"{member} is not supported for instance type {instance_type}: its local NVMe storage is encrypted by the "
            "instance itself."
        )


def is_gated(uri: str) -> bool:
    """True if it is in JumpStart's private bucket: readable with an accepted licence, whatever the role may do."""
    return split_uri(uri)[0].startswith("jumpstart-private-cache-prod-")


def gated_object_opens(context: EmulatorContext, uri: str, accepted: bool, where: str) -> None:
    """`where` names the request's member that accepts the licence."""
    if not accepted:
        raise invalid(
            f"The model at {uri} requires the end-user license agreement (EULA) to be accepted. Set {where} to true "
            "after reading its terms."
        )
    if reason := has_objects(context.client("s3"), uri):
        raise invalid(f"Could not access model data at {uri}: {reason}")


def guardrails_hold(context: EmulatorContext, deployment: dict[str, Any], instances: int) -> None:
    """A canary of at most half the fleet, and alarms that exist. That absent alarms are refused is assumed."""
    routing = deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    if routing.get("Type") == "CANARY":
        size = routing.get("CanarySize")
        if not size:
            raise invalid("CanarySize is required for traffic routing of type CANARY.")
        share = size["Value"] / instances if size["Type"] == "INSTANCE_COUNT" else size["Value"] / 100
        if share > 0.5:
            raise invalid("CanarySize must be less than or equal to 50% of the variant's total instance count.")
    alarms = [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    if alarms:
        known = context.client("cloudwatch").describe_alarms(AlarmNames=alarms)["MetricAlarms"]
        if missing := set(alarms) - {alarm["AlarmName"] for alarm in known}:
            raise invalid(f"Could not find the CloudWatch alarms {', '.join(sorted(missing))}.")


def quota_allows(context: EmulatorContext, instance_type: str, use: str, wanted: int, running: int) -> None:
    """`use` as Service Quotas words it: `training job usage` or `endpoint usage`."""
    name = f"{instance_type} for {use}"
    pages = context.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    quota = next((q["Value"] for page in pages for q in page["Quotas"] if q["QuotaName"] == name), 0.0)
    if running + wanted > quota:
        raise Refused(
            "ResourceLimitExceeded",
            f"The account-level service limit '{name}' is {quota:g} Instances, with current utilization of {running} "
            f"Instances and a request delta of {wanted} Instances. Please use AWS Service Quotas to request an "
            "increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an "
            "increase for this quota.",
        )
