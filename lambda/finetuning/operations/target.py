"""The stage's side of every SageMaker request."""

from finetuning.jumpstart.requests import Target
from finetuning.settings import settings


def target() -> Target:
    """Where this stage's jobs and endpoints run, as whom, and with which key."""
    stage = settings()
    return Target(
        prefix=stage.prefix,
        stage=stage.stage,
        region=stage.aws_region,
        bucket=stage.artifacts_bucket,
        role_arn=stage.execution_role_arn,
        subnets=stage.subnet_ids,
        security_groups=stage.security_group_ids,
        kms_key_arn=stage.kms_key_arn,
        gated_weights=stage.gated_weights,
    )
