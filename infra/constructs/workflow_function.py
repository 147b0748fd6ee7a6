"""A Lambda function of the workflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.config import StageConfig
from infra.constructs.acknowledgements import acknowledge
from infra.constructs.encrypted_log_group import EncryptedLogGroup
from infra.constructs.isolated_network import IsolatedNetwork
from infra.constructs.permissions import Permissions, depend_on_role_alone

NETWORK_INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)


@dataclass(frozen=True, kw_only=True)
class FunctionPlatform:
    """What the functions of a stage share."""

    config: StageConfig
    key: kms.IKey
    network: IsolatedNetwork
    code: lambda_.Code
    layer: lambda_.ILayerVersion
    environment: Mapping[str, str]


class WorkflowFunction(lambda_.Function):
    """Runs `finetuning.handlers.<handler>` with its own role, log group and trace."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        platform: FunctionPlatform,
        permissions: Permissions,
        in_vpc: bool,
        timeout: Duration,
        memory_size: int,
        more_layers: Sequence[lambda_.ILayerVersion] = (),
        ephemeral_storage: Size | None = None,
        dead_letters: sqs.IQueue | None = None,
    ) -> None:
        log_group = EncryptedLogGroup(scope, f"{id}Logs", config=platform.config, key=platform.key)
        permissions.allow(
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            on=[log_group.log_group_arn],
            because="Streams of the function's own log group",
        ).allow_to_trace()
        if in_vpc:
            permissions.allow(
                *NETWORK_INTERFACES,
                on=["*"],
                because="Lambda makes the function's network interfaces; EC2 names none before",
            )
        if dead_letters:
            permissions.allow("sqs:SendMessage", on=[dead_letters.queue_arn], because="Keeps calls that failed")
        role = iam.Role(
            scope,
            f"{id}Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            managed_policies=[permissions],
        )
        super().__init__(
            scope,
            id,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=platform.code,
            handler=f"finetuning.handlers.{handler}.handler",
            layers=[platform.layer, *more_layers],
            environment=dict(platform.environment),
            # The permissions are complete: nothing that CDK would add belongs beside them.
            role=role.without_policy_updates(),
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            timeout=timeout,
            memory_size=memory_size,
            ephemeral_storage_size=ephemeral_storage,
            dead_letter_queue=dead_letters,
            vpc=platform.network.vpc if in_vpc else None,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED) if in_vpc else None,
            security_groups=[platform.network.functions] if in_vpc else None,
        )
        depend_on_role_alone(self)
        acknowledge(
            self,
            "AwsSolutions-L1",
            "Serverless-LambdaLatestVersion",
            because="The package is tested on Python 3.11 to 3.13, and its layer is built for the last of them",
        )
        acknowledge(
            self,
            "LambdaConcurrency",
            because="The Map state limits how many run; reserving would take capacity from other functions",
        )
        if not in_vpc:
            acknowledge(
                self,
                "LambdaInsideVPC",
                because="It calls AWS's APIs and touches no data; the stage has no interface endpoints to pay for",
            )
        if not dead_letters:
            acknowledge(
                self, "LambdaDLQ", because="The state machine waits for it and catches its errors: no call gets lost"
            )


def pandas_layer(scope: Construct, id: str) -> lambda_.ILayerVersion:
    """AWS's own layer with pyarrow, release 3.16.1, from AWS's account for these layers.

    Assumed from its documentation's table; not seen from a live account.
    """
    region = Stack.of(scope).region
    arn = f"arn:aws:lambda:{region}:336392948345:layer:AWSSDKPandas-Python313-Arm64:11"
    return lambda_.LayerVersion.from_layer_version_arn(scope, id, arn)
