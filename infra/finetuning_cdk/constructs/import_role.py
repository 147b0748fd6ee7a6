"""The role with which Bedrock reads a tuned model that it imports."""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from finetuning_cdk.constructs.file_permissions import ANY_RUN, EACH_RUN
from finetuning_cdk.constructs.permissions import Permissions, service_role


def import_role(scope: Construct, id: str, *, artifacts: s3.IBucket, key: kms.IKey) -> iam.Role:
    """Reads what trainings have written, and nothing else, for import jobs of this account."""
    stack = Stack.of(scope)
    permissions = (
        Permissions(scope, f"{id}Permissions")
        .allow("s3:GetObject", on=[artifacts.arn_for_objects(ANY_RUN.training_output + "*")], because=EACH_RUN)
        .allow(
            "s3:ListBucket",
            on=[artifacts.bucket_arn],
            because="Bedrock lists the files of the model",
            when={"StringLike": {"s3:prefix": ANY_RUN.training_output + "*"}},
        )
        .allow(
            "kms:Decrypt",
            "kms:DescribeKey",
            on=[key.key_arn],
            because="The model's files are encrypted with the stage's key",
        )
        # AWS's guide asks for these where the imported model is encrypted with a key of the account.
        .use_key(
            key, "kms:GenerateDataKey", by="bedrock", because="The imported model is encrypted with the stage's key"
        )
        .use_key(
            key,
            "kms:CreateGrant",
            by="bedrock",
            because="Bedrock reads the imported model with a grant whenever it loads it",
        )
    )
    jobs = stack.format_arn(service="bedrock", resource="model-import-job", resource_name="*")
    return service_role(scope, id, service="bedrock.amazonaws.com", permissions=permissions, source=jobs)
