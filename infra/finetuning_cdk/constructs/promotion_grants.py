"""What a stage that trains allows a stage of another account: to read tuned models, with one role."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from finetuning_cdk.config import StageConfig
from finetuning_cdk.constructs.file_permissions import ANY_RUN

MODEL_FILES = ANY_RUN.model_artifact("*") + "*"
"""The files of any tuned model, as a pattern of keys."""


def grant_models(bucket: s3.Bucket, config: StageConfig) -> None:
    """Lets the roles read tuned models, in exactly the version that a release names, and the releases themselves.

    Principals are accounts, and the condition names the role: S3 and KMS refuse a policy that names a role which does
    not exist yet.
    """
    if not config.promote_to:
        return
    for sid, action, key in (
        ("PromotedModels", "s3:GetObjectVersion", MODEL_FILES),
        ("Releases", "s3:GetObject", ANY_RUN.release),
    ):
        bucket.add_to_resource_policy(_statement(Stack.of(bucket), config, sid, action, bucket.arn_for_objects(key)))


def decryption_grant(stack: Stack, config: StageConfig) -> iam.PolicyStatement:
    """A key policy's statement: the same roles may decrypt what they read in S3."""
    statement = _statement(stack, config, "PromotedModelsInS3", "kms:Decrypt", "*")
    statement.add_condition("StringEquals", {"kms:ViaService": f"s3.{stack.region}.amazonaws.com"})
    return statement


def _statement(stack: Stack, config: StageConfig, sid: str, action: str, resource: str) -> iam.PolicyStatement:
    accounts = sorted({each.partition("/")[0] for each in config.promote_to})
    return iam.PolicyStatement(
        sid=sid,
        principals=[iam.AccountPrincipal(account) for account in accounts],
        actions=[action],
        resources=[resource],
        conditions={"ArnEquals": {"aws:PrincipalArn": config.promotion_roles(stack.region)}},
    )
