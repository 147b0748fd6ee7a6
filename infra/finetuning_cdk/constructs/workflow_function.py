"""A Lambda function of the workflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Duration, Size, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from finetuning.lazy_model import NO_PLUGINS
from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.acknowledgements import acknowledge
from finetuning_cdk.constructs.encrypted_log_group import EncryptedLogGroup
from finetuning_cdk.constructs.isolated_network import IsolatedNetwork
from finetuning_cdk.constructs.permissions import Permissions, depend_on_role_alone


@dataclass(frozen=True, kw_only=True)
class FunctionPlatform:
    """What all functions of a stage share."""

    config: StageConfig
    key: kms.IKey
    network: IsolatedNetwork
    code: lambda_.Code
    layer: lambda_.ILayerVersion
    environment: Mapping[str, str]
    dead_letters: sqs.IQueue


@dataclass(frozen=True, kw_only=True)
class FunctionSize:
    """Limits of one function: seconds, MiB of memory and of disk, concurrent calls."""

    timeout: int = 120
    memory: int = 512
    disk: int = 512
    concurrency: int = 20


class WorkflowFunction(lambda_.Function):
    """Runs `finetuning.handlers.<handler>` with its own role, log group and trace.

    Its role has its own `permissions` and those `shared` with others, in policies of their own: IAM limits a policy to
    6,144 characters.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        platform: FunctionPlatform,
        permissions: Permissions,
        in_vpc: bool,
        size: FunctionSize,
        shared: Sequence[Permissions],
        role_name: str | None = None,
        more_layers: Sequence[lambda_.ILayerVersion] = (),
    ) -> None:
        log_group = EncryptedLogGroup(scope, f"{id}Logs", config=platform.config, key=platform.key)
        permissions.allow(
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            on=[log_group.log_group_arn],
            because="Streams of the function's own log group",
        )
        role = iam.Role(
            scope,
            f"{id}Role",
            role_name=role_name,
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            managed_policies=[permissions, *shared],
        )
        super().__init__(
            scope,
            id,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=platform.code,
            handler=f"finetuning.handlers.{handler}.handler",
            layers=[platform.layer, *more_layers],
            environment={
                **platform.environment,
                # Powertools' variable for the name that distinguishes stages in logs, metrics and traces.
                "POWERTOOLS_SERVICE_NAME": platform.config.prefix,
                **NO_PLUGINS,
            },
            environment_encryption=platform.key,
            # The permissions are complete: CDK must not add any.
            role=role.without_policy_updates(),
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            timeout=Duration.seconds(size.timeout),
            memory_size=size.memory,
            ephemeral_storage_size=Size.mebibytes(size.disk),
            reserved_concurrent_executions=size.concurrency if platform.config.reserve_concurrency else None,
            # For asynchronous calls, by EventBridge, the schedules and CloudFormation, that failed.
            dead_letter_queue=platform.dead_letters,
            vpc=platform.network.vpc if in_vpc else None,
            vpc_subnets=platform.network.subnets if in_vpc else None,
            security_groups=[platform.network.functions] if in_vpc else None,
        )
        depend_on_role_alone(self)
        acknowledge(
            self,
            "AwsSolutions-L1",
            "Serverless-LambdaLatestVersion",
            because="The package is tested on Python 3.11 to 3.13, and its layer is built for the last of them",
        )
        if not platform.config.reserve_concurrency:
            acknowledge(
                self,
                "LambdaConcurrency",
                because="A new account has no concurrency to reserve; the Map state limits how many run",
            )
        if not in_vpc:
            acknowledge(
                self,
                "LambdaInsideVPC",
                because="It calls AWS APIs only; the stage pays for no interface endpoints, or it outlives the network",
            )


def lambda_permissions(scope: Construct, id: str, platform: FunctionPlatform) -> Permissions:
    """What Lambda does with the role of every function: traces, the environment, failed calls."""
    function = Stack.of(scope).format_arn(
        service="lambda",
        resource="function",
        resource_name=f"{platform.config.prefix}-*",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    return (
        Permissions(scope, id)
        .allow_tracing()
        .allow(
            "kms:Decrypt",
            on=[platform.key.key_arn],
            because="The environment is encrypted with the stage's key",
            when={"StringLike": {"kms:EncryptionContext:aws:lambda:FunctionArn": function}},
        )
        .allow("sqs:SendMessage", on=[platform.dead_letters.queue_arn], because="Keeps failed calls")
    )


def network_permissions(scope: Construct, id: str) -> Permissions:
    """What Lambda does with the role of a function in the VPC: network interfaces."""
    stack = Stack.of(scope)
    # Lambda checks the role on `*/*` when it creates a function; EC2 requires the three kinds.
    kinds = ("*", "network-interface", "security-group", "subnet")
    return (
        Permissions(scope, id)
        .allow(
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
            on=[f"arn:aws:ec2:{stack.region}:{stack.account}:{kind}/*" for kind in kinds],
            because="Lambda creates the function's network interfaces; it requires permission on all resources",
        )
        .allow(
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            on=["*"],
            because="EC2 descriptions have no resource-level permissions",
        )
    )
