"""The permissions for promoting models from one account to another. In a stage that does neither they grant nothing."""

from typing import Self

from aws_cdk import Stack

from finetuning.runs.layout import PROMOTIONS
from finetuning_cdk.constructs.file_permissions import ANY_RUN
from finetuning_cdk.constructs.judge_permissions import JudgePermissions
from finetuning_cdk.constructs.promotion_grants import MODEL_FILES
from finetuning_cdk.constructs.step_permissions import OURS

THEIRS = "The runs of the stage that trains are not known at deployment; all are under its prefix"


class PromotionPermissions(JudgePermissions):
    """The policy of one function, with what it may do to promote models."""

    def release_models(self) -> Self:
        """In a stage that trains: says what another account may have, and lets it read that."""
        if not self._stage.config.promote_to:
            return self
        return (
            self.read_runs(MODEL_FILES)
            .write_files(ANY_RUN.release)
            .allow(
                "sagemaker:PutModelPackageGroupPolicy",
                on=self._named("model-package-group"),
                because=f"{OURS}; a group is created with its first version",
            )
        )

    def approve_versions(self) -> Self:
        """In a stage that trains: approves a version, which lets the other account have it, or withdraws that."""
        if not self._stage.config.promote_to:
            return self
        return self.allow(
            "sagemaker:UpdateModelPackage",
            "sagemaker:DescribeModelPackage",
            on=self._named("model-package"),
            because=OURS,
        )

    def promote_models(self) -> Self:
        """Reads versions, releases and models of the other account, and copies the models."""
        config = self._stage.config
        if not config.promote_from:
            return self
        stack, theirs = Stack.of(self), f"arn:aws:s3:::{config.promote_from_bucket}"
        versions = stack.format_arn(
            service="sagemaker",
            account=config.promote_from_account,
            resource="model-package",
            resource_name=f"{config.promote_from_prefix}-*",
        )
        return (
            self.write_runs(
                ANY_RUN.plan,
                ANY_RUN.training_output + "*",
                f"{PROMOTIONS}*.json",
                reading=[ANY_RUN.request, ANY_RUN.training_output + "*", f"{PROMOTIONS}*.json"],
            )
            .read_jumpstart()
            .check_plans()
            .find_imports()
            .read_names()
            .allow("sagemaker:DescribeModelPackage", on=[versions], because=THEIRS)
            .allow("s3:GetObject", on=[f"{theirs}/{ANY_RUN.release}"], because=THEIRS)
            .allow("s3:GetObjectVersion", on=[f"{theirs}/{MODEL_FILES}"], because=THEIRS)
            .allow(
                "kms:Decrypt",
                on=[str(config.promote_from_key)],
                because="The other account's models are encrypted with its key",
                when={"StringEquals": {"kms:ViaService": f"s3.{stack.region}.amazonaws.com"}},
            )
        )
