"""The permissions of each function on imported models.

Bedrock chooses the ids of jobs and models, so that no policy can name those of a stage: the tag that says which stage
created one takes the place of the name. In a stage that may not import models these methods grant nothing.
"""

from typing import Self

from aws_cdk import Stack

from finetuning.runs.layout import alias_key
from finetuning.runs.tags import OWNER_TAG
from finetuning_cdk.constructs.permissions import Conditions
from finetuning_cdk.constructs.step_permissions import StepPermissions

ENCRYPTED = "The imported model is encrypted with the stage's key"
TAGGED = "Bedrock chooses the ids of models; limited to those with the tag of this stage"
ALIASES = alias_key("*")
JOBS, MODELS = "model-import-job", "imported-model"


class ImportPermissions(StepPermissions):
    """The policy of one function, with what it may do in Bedrock."""

    def import_models(self) -> Self:
        """Imports models that get the stage's tags, with the role for that, encrypted with the stage's key; and finds
        what was imported. Makes room for a model by deleting one that is kept for a rollback.
        """
        role = self._stage.import_role
        if role is None:
            return self
        return (
            self.allow(
                "bedrock:CreateModelImportJob",
                on=["*"],
                because="An import job has no name before it is created; limited to requests with the stage's tag",
                when=self._with_our_tag("RequestTag"),
            )
            .allow(
                "bedrock:TagResource",
                on=self._imports(JOBS, MODELS),
                because=TAGGED,
                when=self._with_our_tag("RequestTag"),
            )
            .allow(
                "iam:PassRole",
                on=[role.role_arn],
                because="Bedrock reads the model with this role",
                when={"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
            )
            .use_key(
                self._stage.key,
                "kms:CreateGrant",
                "kms:DescribeKey",
                "kms:GenerateDataKey",
                "kms:Decrypt",
                by="bedrock",
                because=ENCRYPTED,
            )
            .find_imports()
            .delete_imports()
        )

    def find_imports(self) -> Self:
        """Lists jobs and models, and identifies whose they are."""
        if self._stage.import_role is None:
            return self
        return self._list_imports().allow(
            "bedrock:ListTagsForResource",
            on=self._imports(MODELS),
            because="Bedrock chooses the ids of models; the tags say which stage created one",
        )

    def _list_imports(self) -> Self:
        return self.allow_in_this_region(
            "bedrock:ListModelImportJobs",
            "bedrock:ListImportedModels",
            because="Bedrock's lists cannot be limited to names; the results are filtered by the stage's prefix",
        )

    def describe_imports(self) -> Self:
        if self._stage.import_role is None:
            return self
        ours = self._with_our_tag("ResourceTag")
        return (
            self._list_imports()
            .allow("bedrock:GetModelImportJob", on=self._imports(JOBS), because=TAGGED, when=ours)
            .allow("bedrock:GetImportedModel", on=self._imports(MODELS), because=TAGGED, when=ours)
        )

    def delete_imports(self) -> Self:
        """Deletes models, and changes the documents that say which model a name stands for."""
        if self._stage.import_role is None:
            return self
        return self._delete_models().switch_names()

    def clean_up_imports(self) -> Self:
        """Finds what runs left, identifies its run, deletes it or limits its lifetime."""
        return self.find_imports().delete_imports().keep_imports_for_a_while()

    def delete_every_import(self) -> Self:
        """For a stage that is destroyed, which may have imported models before it was configured not to."""
        return self._list_imports()._delete_models()

    def _delete_models(self) -> Self:
        return self.allow(
            "bedrock:DeleteImportedModel",
            on=self._imports(MODELS),
            because=TAGGED,
            when=self._with_our_tag("ResourceTag"),
        )

    def keep_imports_for_a_while(self) -> Self:
        """Keeps in a model's tags when it expires."""
        if self._stage.import_role is None:
            return self
        return self.allow(
            "bedrock:TagResource", on=self._imports(MODELS), because=TAGGED, when=self._with_our_tag("ResourceTag")
        )

    def invoke_imports(self) -> Self:
        if self._stage.import_role is None:
            return self
        return self.allow(
            "bedrock:InvokeModel", on=self._imports(MODELS), because=TAGGED, when=self._with_our_tag("ResourceTag")
        ).use_key(self._stage.key, "kms:Decrypt", by="bedrock", because=ENCRYPTED)

    def switch_names(self) -> Self:
        """Reads and changes the documents that say which model a name stands for."""
        if self._stage.import_role is None:
            return self
        return self.read_names().write_files(ALIASES)

    def read_names(self) -> Self:
        return self if self._stage.import_role is None else self.read_runs(ALIASES)

    def _imports(self, *kinds: str) -> list[str]:
        return [Stack.of(self).format_arn(service="bedrock", resource=kind, resource_name="*") for kind in kinds]

    def _with_our_tag(self, key: str) -> Conditions:
        return {"StringEquals": {f"aws:{key}/{OWNER_TAG}": self._stage.config.prefix}}
