"""A deployed stage in an emulated account: its stack's outputs, and its two buckets."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from cli.main import app
from cli.stage.deployment import Deployment
from finetuning.aws.clients import client
from finetuning.errors import FineTuningError
from finetuning.runs.layout import RunLayout
from finetuning.runs.names import Names
from finetuning.runs.status import Approval, RunState, RunStatus
from tests.builders.runs import RUN_ID, any_status

UPLOAD, ARTIFACTS = "the-upload-bucket", "the-artifacts-bucket"
ROLE = "arn:aws:iam::123456789012:role/SageMakerExecution"


@pytest.fixture
def deployment(aws: None, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The stage dev, deployed. Only its stack's description is canned: moto's stacks need libraries of their own."""
    machine = "arn:aws:states:us-east-1:123456789012:stateMachine:fine-tuning"
    topic = "arn:aws:sns:us-east-1:123456789012:topic"
    values = {
        "UploadBucketName": UPLOAD,
        "ArtifactsBucketName": ARTIFACTS,
        "StateMachineArn": machine,
        "TopicArn": topic,
    }
    outputs = [{"OutputKey": key, "OutputValue": value} for key, value in values.items()]

    def describe_stacks(StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own name
        if StackName != "finetune-dev-workflow":
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        return {"Stacks": [{"StackName": StackName, "Outputs": outputs}]}

    monkeypatch.setattr(client("cloudformation"), "describe_stacks", describe_stacks)
    s3 = boto3.client("s3", region_name="us-east-1")
    for bucket in (UPLOAD, ARTIFACTS):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return Deployment.find("dev")


def write(key: str, body: str) -> None:
    """What a function of the workflow would have left in the artifacts bucket."""
    boto3.client("s3", region_name="us-east-1").put_object(Bucket=ARTIFACTS, Key=key, Body=body.encode())


def write_status(status: RunStatus) -> None:
    write(RunLayout(status.run_id).status, status.model_dump_json())


@pytest.fixture
def finetune() -> "Command":
    return Command()


class Command:
    """`finetune`, as a user types it: returns exit code and standard output, raises the command's own errors."""

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(app, list(words), input=stdin, env={"COLUMNS": "200"})
        self.stderr = result.stderr
        if isinstance(result.exception, FineTuningError):
            raise result.exception
        return result.exit_code, result.stdout


@pytest.fixture
def sent(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of calls to Step Functions, which are not made."""
    calls: list[dict[str, Any]] = []
    for operation in ("send_task_success", "send_task_failure", "stop_execution"):
        monkeypatch.setattr(client("stepfunctions"), operation, lambda _name=operation, **given: calls.append(given))
    return calls


def waiting_for_approval() -> None:
    write_status(any_status(state=RunState.RUNNING, step="ApproveDeployment"))
    approval = Approval(task_token="the-token")
    write(RunLayout(RUN_ID).approval, approval.model_dump_json())


def any_endpoint_of(run_id: str, name: str | None = None, config: str | None = None, ttl_hours: str = "8") -> None:
    """An endpoint with its configuration and model, as a run leaves them."""
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    names = Names("finetune-dev", run_id)
    values = {"finetune:run-id": run_id, "finetune:created-by": "finetune-dev", "finetune:ttl-hours": ttl_hours}
    tags = [{"Key": key, "Value": value} for key, value in values.items()]
    image = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/djl:1"}
    sagemaker.create_model(ModelName=names.model, ExecutionRoleArn=ROLE, PrimaryContainer=image)
    config = config or names.endpoint_config
    sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
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
