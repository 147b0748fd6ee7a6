"""The permissions of each function on judges: exactly the models in Bedrock that the stage allows, none by default."""

from typing import Self

from aws_cdk import Stack

from finetuning.bedrock.judges import foundation_model, is_profile
from finetuning_cdk.constructs.import_permissions import ImportPermissions
from finetuning_cdk.constructs.permissions import Conditions

ROUTED = "Bedrock chooses the region in which an inference profile answers; limited to calls by the profile"


class JudgePermissions(ImportPermissions):
    """The policy of one function, with what it may do with judges."""

    def ask_judges(self) -> Self:
        """Calls the models. A profile needs the permission for itself and for its model in each region it may use."""
        for judge in self._stage.config.judge_models:
            because, profile = f"The stage lets {judge} judge answers", self._profile(judge)
            if not is_profile(judge):
                self.allow("bedrock:InvokeModel", on=[self._model(judge)], because=because)
                continue
            by_profile: Conditions = {"ArnEquals": {"bedrock:InferenceProfileArn": profile}}
            self.allow("bedrock:InvokeModel", on=[profile], because=because).allow(
                "bedrock:InvokeModel", on=[self._model(judge, region="*")], because=ROUTED, when=by_profile
            )
        return self

    def check_judges(self) -> Self:
        """Reads whether the models can be called."""
        judges = self._stage.config.judge_models
        because = "A judge must be known to Bedrock before a run that needs it costs money"
        if models := list(dict.fromkeys(self._model(judge) for judge in judges)):
            self.allow("bedrock:GetFoundationModel", on=models, because=because).allow_in_this_region(
                "bedrock:GetFoundationModelAvailability",
                because="The availability of models has no resource-level permissions",
            )
        if profiles := [self._profile(judge) for judge in judges if is_profile(judge)]:
            self.allow("bedrock:GetInferenceProfile", on=profiles, because=because)
        return self

    def _model(self, judge: str, region: str = "") -> str:
        stack = Stack.of(self)
        name = foundation_model(judge)
        return stack.format_arn(
            service="bedrock",
            region=region or stack.region,
            account="",
            resource="foundation-model",
            resource_name=name,
        )

    def _profile(self, judge: str) -> str:
        return Stack.of(self).format_arn(service="bedrock", resource="inference-profile", resource_name=judge)
