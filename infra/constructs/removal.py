"""What stays when a stage is destroyed."""

from aws_cdk import RemovalPolicy

from infra.config import StageConfig


def removal_policy(config: StageConfig) -> RemovalPolicy:
    """For everything that holds data."""
    return RemovalPolicy.RETAIN if config.keep_data else RemovalPolicy.DESTROY
