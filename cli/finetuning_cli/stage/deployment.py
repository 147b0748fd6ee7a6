"""A deployed stage: where uploads go, where runs keep their files."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, is_transient
from finetuning.aws.run_store import RunStore
from finetuning.errors import Code, FineTuningError
from finetuning.operations.run import Run
from finetuning.runs.layout import measurement
from finetuning.runs.plan import Measurement
from finetuning.settings import STAGE_NAME, DeployedStage
from finetuning_cli.errors import cli_errors

PREFIX = "finetune-"
OUTPUTS = ("UploadBucketName", "ArtifactsBucketName", "StateMachineArn", "TopicArn")
THROTTLED = 4
"""Attempts to read the stack while CloudFormation throttles."""

SETTINGS = "StageSettings"
"""The output with the stage's settings; a stack that an earlier version deployed has none."""


@dataclass(frozen=True)
class Deployment:
    """The workflow of one stage in one account, found by its stack's outputs."""

    prefix: str
    upload_bucket: str
    artifacts_bucket: str
    state_machine_arn: str
    topic_arn: str
    settings: DeployedStage | None = None

    @classmethod
    def find(cls, stage: str) -> "Deployment":
        """Reads the outputs of the stack `finetune-<stage>-workflow`.

        Raises `FineTuningError`: DEPLOYMENT_NOT_FOUND if there is no such stack, otherwise as `cli_errors`.
        """
        if not re.fullmatch(STAGE_NAME, stage):
            raise FineTuningError(
                Code.DEPLOYMENT_NOT_FOUND,
                f"{stage!r} is not the name of a stage: it has 2 to 8 lower-case letters and digits.",
                "Choose another with --stage or FINETUNE_STAGE.",
            )
        prefix = PREFIX + stage
        stack = f"{prefix}-workflow"
        with cli_errors(f"read the stack {stack}"):
            cloudformation = client("cloudformation")
            try:
                described = _describe(cloudformation, stack)
            except ClientError as error:
                if error_code(error) != "ValidationError" or "does not exist" not in str(error):
                    raise
                region = cloudformation.meta.region_name
                raise _not_found(f"There is no stack {stack} in {region}.", stage) from error
        outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])}
        missing = [name for name in OUTPUTS if name not in outputs]
        if missing:
            state = described["StackStatus"]
            raise _not_found(f"The stack {stack} ({state}) has no output {', '.join(missing)}.", stage)
        region = cloudformation.meta.region_name
        uploads, artifacts, state_machine, topic = (outputs[name] for name in OUTPUTS)
        return cls(prefix, uploads, artifacts, state_machine, topic, _settings(outputs.get(SETTINGS), region))

    @property
    def stage(self) -> str:
        return self.prefix.removeprefix(PREFIX)

    @property
    def store(self) -> RunStore:
        """The command writes there only new documents of `finetune evaluate`, and the names that it rolls back."""
        return RunStore(client("s3"), self.artifacts_bucket, kms_key_arn="")

    def measured(self, model_id: str, instance_type: str) -> Measurement | None:
        """What the last training of the model on the type took. None also if the caller may not read that."""
        try:
            return self.store.find(measurement(model_id, instance_type), Measurement)
        except FineTuningError:
            return None

    def run(self, run_id: str) -> Run:
        """The run of that id, which may not have started yet."""
        return Run(run_id, store=self.store, prefix=self.prefix)


def _describe(cloudformation: Any, stack: str) -> dict[str, Any]:
    """The client does not retry, so that a missing network is reported at once; throttling is retried here."""
    for attempt in range(THROTTLED):
        try:
            found: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            return found
        except ClientError as error:
            if not is_transient(error) or attempt == THROTTLED - 1:
                raise
            time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _settings(output: str | None, region: str) -> DeployedStage | None:
    """None also for the settings of a later version, which this one cannot read."""
    try:
        return DeployedStage.model_validate({**json.loads(output), "aws_region": region}) if output else None
    except ValidationError:
        return None


def _not_found(message: str, stage: str) -> FineTuningError:
    return FineTuningError(
        Code.DEPLOYMENT_NOT_FOUND,
        message,
        f"Deploy the stage (`npx cdk deploy --all -c stage={stage}`) or choose another with --stage; "
        "check the account, AWS_REGION and AWS_ENDPOINT_URL.",
    )
