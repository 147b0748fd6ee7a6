"""The CDK app: one stage, checked by cdk-nag."""

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from finetuning_cdk.config import StageConfig
from finetuning_cdk.stage import FineTuningStage

app = App()
FineTuningStage(app, config=StageConfig.from_context(app.node.get_all_context()))
Validations.of(app).add_plugins(AwsSolutionsChecks(app))
app.synth()
