"""The CDK app: one stage, checked by cdk-nag."""

import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from finetuning_cdk import FineTuning
from finetuning_cdk.config import ConfigurationError

app = App()
try:
    FineTuning.from_context(app)
except ConfigurationError as error:
    sys.exit(str(error))
Validations.of(app).add_plugins(AwsSolutionsChecks(app))
app.synth()
