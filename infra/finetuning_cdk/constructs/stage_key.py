"""The stage's one customer-managed key."""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.encrypted_log_group import STATES_LOGS


class StageKey(kms.Key):
    """Encrypts data, logs and messages of one stage. Roles are allowed to use it by their own policies.

    Services that use it themselves: CloudWatch Logs, which writes every log group, and those that publish to the
    encrypted topic: CloudWatch for its alarms and, where there is a budget, AWS Budgets.
    """

    def __init__(self, scope: Construct, id: str, *, config: StageConfig) -> None:
        prefix = config.prefix
        super().__init__(
            scope,
            id,
            description=f"Data, logs and messages of {prefix}",
            enable_key_rotation=True,
            removal_policy=config.removal_policy,
        )
        stack = Stack.of(self)
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogGroupsOfThisStage",
                principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                resources=["*"],
                conditions={
                    "ArnLike": {
                        "kms:EncryptionContext:aws:logs:arn": [
                            stack.format_arn(
                                service="logs",
                                resource="log-group",
                                resource_name=f"{folder}{prefix}-*",
                                arn_format=ArnFormat.COLON_RESOURCE_NAME,
                            )
                            for folder in ("", STATES_LOGS)
                        ]
                    }
                },
            )
        )
        self._allow_to_publish("AlarmsOfThisAccount", "cloudwatch.amazonaws.com")
        if config.has_budget:
            # Assumed: Budgets passes the account to KMS as it does to SNS.
            self._allow_to_publish("BudgetsOfThisAccount", "budgets.amazonaws.com")
        if config.data_readers:
            self._deny_other_readers(f"arn:aws:iam::{stack.account}:role/{prefix}-*", *config.data_readers)

    def _allow_to_publish(self, sid: str, service: str) -> None:
        """Allows a service to encrypt what it publishes to the topic for this account."""
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                principals=[iam.ServicePrincipal(service)],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            )
        )

    def _deny_other_readers(self, *principals: str) -> None:
        """Denies decrypting objects to anyone else, administrators included. Anyone who may change the key's
        policy can undo this.
        """
        stack = Stack.of(self)
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DenyOtherReaders",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["kms:Decrypt", "kms:ReEncryptFrom"],
                resources=["*"],
                conditions={
                    "StringEquals": {"kms:ViaService": f"s3.{stack.region}.amazonaws.com"},
                    "ArnNotLike": {"aws:PrincipalArn": list(principals)},
                    "Bool": {"aws:PrincipalIsAWSService": "false"},
                },
            )
        )
