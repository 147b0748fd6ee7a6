"""The stage's one customer-managed key."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.encrypted_log_group import STATES_LOGS
from finetuning_cdk.constructs.promotion_grants import decryption_grant

DENY_OTHER_READERS = "DenyOtherReaders"


class StageKey(kms.Key):
    """Encrypts data, logs and messages of one stage. Roles are allowed to use it by their own policies."""

    def __init__(self, scope: Construct, id: str, *, config: StageConfig) -> None:
        super().__init__(
            scope,
            id,
            description=f"Data, logs and messages of {config.prefix}",
            enable_key_rotation=True,
            removal_policy=config.removal_policy,
        )
        for statement in service_statements(Stack.of(self), config):
            self.add_to_resource_policy(statement)


def service_statements(stack: Stack, config: StageConfig, suffix: str = "") -> list[iam.PolicyStatement]:
    """The statements of the stage's key, besides the one that leaves permissions to IAM.

    Services that use it themselves: CloudWatch Logs, which writes every log group, and those that publish to the
    encrypted topic: CloudWatch for its alarms and, where there is a budget, AWS Budgets. Besides them the roles
    that copy models to other accounts. `suffix` tells the statements of several stages with one key apart.
    """
    statements = [_log_groups(stack, config.prefix), _publisher("AlarmsOfThisAccount", "cloudwatch", stack)]
    if config.has_budget:
        # Assumed: Budgets passes the account to KMS as it does to SNS.
        statements.append(_publisher("BudgetsOfThisAccount", "budgets", stack))
    if config.promote_to:
        statements.append(decryption_grant(stack, config))
    if config.data_readers:
        statements.append(_deny_other_readers(stack, config))
    for statement in statements:
        statement.sid = f"{statement.sid}{suffix}"
    return statements


def _log_groups(stack: Stack, prefix: str) -> iam.PolicyStatement:
    groups = [
        stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{folder}{prefix}-*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        for folder in ("", STATES_LOGS)
    ]
    return iam.PolicyStatement(
        sid="LogGroupsOfThisStage",
        principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
        actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        resources=["*"],
        conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    )


def _publisher(sid: str, service: str, stack: Stack) -> iam.PolicyStatement:
    """Allows a service to encrypt what it publishes to the topic for this account."""
    return iam.PolicyStatement(
        sid=sid,
        principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
        actions=["kms:Decrypt", "kms:GenerateDataKey*"],
        resources=["*"],
        conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
    )


def _deny_other_readers(stack: Stack, config: StageConfig) -> iam.PolicyStatement:
    """Denies decrypting objects to anyone else, administrators included. Whoever may change the key can undo it."""
    ours = f"arn:aws:iam::{stack.account}:role/{config.prefix}-*"
    readers = [ours, *config.promotion_roles(stack.region), *config.data_readers]
    return iam.PolicyStatement(
        sid=DENY_OTHER_READERS,
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=["kms:Decrypt", "kms:ReEncryptFrom"],
        resources=["*"],
        conditions={
            "StringEquals": {"kms:ViaService": f"s3.{stack.region}.amazonaws.com"},
            "ArnNotLike": {"aws:PrincipalArn": readers},
            "Bool": {"aws:PrincipalIsAWSService": "false"},
        },
    )
