"""A log group of the stage."""

from aws_cdk import Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.config import StageConfig
from infra.constructs.removal import removal_policy


class EncryptedLogGroup(logs.LogGroup):
    """Encrypted with the stage's key and kept for as long as the stage says.

    It has no name of its own: CloudFormation's begins with the stack's, to which the key's policy is limited. Below a
    `folder`, such as `/aws/vendedlogs/states/`, it is named like that: by the stack and its id, so that a stack that
    is deployed anew does not meet the group that the last one left.
    """

    def __init__(self, scope: Construct, id: str, *, config: StageConfig, key: kms.IKey, folder: str = "") -> None:
        stack = Stack.of(scope)
        of_this_stack = Fn.select(2, Fn.split("/", stack.stack_id))
        super().__init__(
            scope,
            id,
            log_group_name=f"{folder}{stack.stack_name}-{id}-{of_this_stack}" if folder else None,
            encryption_key=key,
            retention=config.log_retention,
            removal_policy=removal_policy(config),
        )
