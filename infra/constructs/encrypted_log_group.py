"""A log group of the stage."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.config import StageConfig
from infra.constructs.removal import removal_policy


class EncryptedLogGroup(logs.LogGroup):
    """Encrypted with the stage's key and kept for as long as the stage says.

    It has no name of its own: CloudFormation's begins with the stack's, to which the key's policy is limited.
    """

    def __init__(self, scope: Construct, id: str, *, config: StageConfig, key: kms.IKey) -> None:
        super().__init__(
            scope,
            id,
            encryption_key=key,
            retention=config.log_retention,
            removal_policy=removal_policy(config),
        )
