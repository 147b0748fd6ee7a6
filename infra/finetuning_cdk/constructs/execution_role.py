"""The role with which SageMaker runs jobs and endpoints."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning_cdk.constructs.file_permissions import ANY_RUN, EACH_RUN
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.permissions import Permissions, service_role


def execution_role(
    scope: Construct, id: str, *, artifacts: s3.IBucket, key: kms.IKey, network: IsolatedNetwork, prefix: str
) -> iam.Role:
    """Reads prepared data, JumpStart's models and tuned weights; writes training output and captured calls.

    The containers run with network isolation and have no credentials: SageMaker uses the role for them.
    """
    stack = Stack.of(scope)
    permissions = Permissions(scope, f"{id}Permissions")
    _data(permissions, stack.region, artifacts, key)
    _network(permissions, stack, network)
    _platform(permissions, stack)
    _alarms(permissions, stack, prefix)
    return service_role(scope, id, service="sagemaker.amazonaws.com", permissions=permissions)


def _data(permissions: Permissions, region: str, artifacts: s3.IBucket, key: kms.IKey) -> None:
    training = artifacts.arn_for_objects(ANY_RUN.training_output + "*")
    datasets = [artifacts.arn_for_objects(prefix + "*") for prefix in (ANY_RUN.train, ANY_RUN.validation)]
    jumpstart = [f"arn:aws:s3:::{bucket}" for bucket in (cache_bucket(region), private_bucket(region))]
    permissions.allow("s3:GetObject", on=[*datasets, training], because=EACH_RUN)
    capture = artifacts.arn_for_objects(ANY_RUN.capture + "*")
    permissions.allow("s3:PutObject", "s3:AbortMultipartUpload", on=[training, capture], because=EACH_RUN)
    permissions.allow(
        "s3:GetObject",
        on=[f"{bucket}/*" for bucket in jumpstart],
        because="JumpStart's scripts and weights, under keys that each model's document names",
    )
    permissions.allow(
        "s3:ListBucket", on=[artifacts.bucket_arn, *jumpstart], because="SageMaker lists the prefixes it downloads"
    )
    permissions.allow(
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:DescribeKey",
        on=[key.key_arn],
        because="Data, output and volumes are encrypted with the stage's key",
    )
    permissions.allow(
        "kms:CreateGrant",
        on=[key.key_arn],
        because="SageMaker attaches encrypted volumes",
        when={"Bool": {"kms:GrantIsForAWSResource": "true"}},
    )


def _network(permissions: Permissions, stack: Stack, network: IsolatedNetwork) -> None:
    def ec2_arn(resource: str, name: str) -> str:
        return stack.format_arn(service="ec2", resource=resource, resource_name=name)

    subnets = [ec2_arn("subnet", subnet.subnet_id) for subnet in network.vpc.isolated_subnets]
    group = ec2_arn("security-group", network.jobs.security_group_id)
    interfaces = ec2_arn("network-interface", "*")
    permissions.allow(
        "ec2:CreateNetworkInterface",
        on=[*subnets, group, interfaces],
        because="SageMaker creates the jobs' network interfaces; their ids are not known in advance",
    )
    permissions.allow(
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        on=[interfaces],
        because="SageMaker creates the jobs' network interfaces; their ids are not known in advance",
        when={"ArnEquals": {"ec2:Subnet": subnets}},
    )
    permissions.allow(
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        on=["*"],
        because="EC2 descriptions have no resource-level permissions",
    )


def _platform(permissions: Permissions, stack: Stack) -> None:
    permissions.allow("ecr:GetAuthorizationToken", on=["*"], because="ECR's log-in has no resource-level permissions")
    permissions.allow(
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        on=[f"arn:aws:ecr:{stack.region}:*:repository/*"],
        because="JumpStart's images are in accounts of AWS that differ by region",
    )
    permissions.allow(
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        on=[
            stack.format_arn(
                service="logs",
                resource="log-group",
                resource_name="/aws/sagemaker/*",
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
        ],
        because="SageMaker names log groups and streams itself, under /aws/sagemaker/",
    )
    permissions.allow(
        "cloudwatch:PutMetricData",
        on=["*"],
        because="Metrics have no resource-level permissions; limited to SageMaker's namespaces",
        when={"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker", "aws/sagemaker/*"]}},
    )


def _alarms(permissions: Permissions, stack: Stack, prefix: str) -> None:
    alarms = stack.format_arn(
        service="cloudwatch", resource="alarm", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
    )
    # AWS's guide requires it of "your IAM execution role", without saying whether that is this role or the caller's.
    permissions.allow(
        "cloudwatch:DescribeAlarms",
        on=[alarms],
        because="SageMaker watches an endpoint's alarms during an update; CloudWatch checks it on all alarms",
    )
