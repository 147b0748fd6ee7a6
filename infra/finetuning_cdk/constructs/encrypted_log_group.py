"""A log group of the stage."""

from aws_cdk import Fn, Stack
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from finetuning_cdk.config import StageConfig

STATES_LOGS = "/aws/vendedlogs/states/"
"""Where the log group of a state machine must be. Any other group is added to the account's resource policy of
CloudWatch Logs, which takes 5,120 characters, when a state machine logs to it (Step Functions' guide, bp-cwl)."""


class EncryptedLogGroup(logs.LogGroup):
    """Encrypted with the stage's key and kept for as long as the stage is configured to keep logs.

    It has no name of its own: CloudFormation's begins with the stack's name, to which the key's policy is limited. In a
    `folder`, such as `STATES_LOGS`, it gets a name of that kind, with the stack's id, so that a stack that is deployed
    again does not collide with the group that the previous one retained.
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
            removal_policy=config.removal_policy,
        )
