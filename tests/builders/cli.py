"""`finetune` as a user types it, and what a stage that it works on holds."""

import json

import boto3
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from finetuning.errors import FineTuningError
from finetuning.jumpstart.target import VARIANT
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import Names
from finetuning.runs.status import Approval, RunState, RunStatus
from finetuning.runs.tags import OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning_cli.main import app
from tests.builders.runs import RUN_ID, any_status

UPLOAD, ARTIFACTS = "the-upload-bucket", "the-artifacts-bucket"
ROLE = "arn:aws:iam::123456789012:role/SageMakerExecution"

SIGNED_OUT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": None,
    "AWS_PROFILE": None,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_CONFIG_FILE": "/nonexistent",
}
"""The environment of a user without credentials."""


class Command:
    """`finetune`, as a user types it: returns exit code and standard output, raises the command's own errors."""

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(app, list(words), input=stdin, env={"COLUMNS": "200"})
        self.stderr = result.stderr
        if isinstance(result.exception, FineTuningError):
            raise result.exception
        return result.exit_code, result.stdout


def write(key: str, body: str) -> None:
    """What a function of the workflow would have left in the artifacts bucket."""
    boto3.client("s3", region_name="us-east-1").put_object(Bucket=ARTIFACTS, Key=key, Body=body.encode())


def write_status(status: RunStatus) -> None:
    write(RunLayout(status.run_id).status, status.model_dump_json())


def waiting_for_approval() -> None:
    write_status(any_status(state=RunState.RUNNING, step="ApproveDeployment"))
    approval = Approval(task_token="the-token")
    write(RunLayout(RUN_ID).approval, approval.model_dump_json())


def any_endpoint_of(run_id: str, name: str | None = None, config: str | None = None, ttl_hours: str = "8") -> None:
    """An endpoint with its configuration and model, as a run leaves them."""
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    names = Names("finetune-dev", run_id)
    values = {RUN_TAG: run_id, OWNER_TAG: "finetune-dev", TTL_TAG: ttl_hours}
    tags = [{"Key": key, "Value": value} for key, value in values.items()]
    image = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/djl:1"}
    sagemaker.create_model(ModelName=names.model, ExecutionRoleArn=ROLE, PrimaryContainer=image)
    config = config or names.endpoint_config
    sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[
            {
                "VariantName": VARIANT,
                "ModelName": names.model,
                "InstanceType": "ml.g4dn.12xlarge",
                "InitialInstanceCount": 1,
            }
        ],
    )
    sagemaker.create_endpoint(EndpointName=name or names.endpoint, EndpointConfigName=config, Tags=tags)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "AWS's own words"}}, "DescribeStacks")


def any_chat_line(number: int = 0) -> str:
    turns = [{"role": "user", "content": f"Ahoy {number}?"}, {"role": "assistant", "content": "Arr."}]
    return json.dumps({"dialog": turns})
