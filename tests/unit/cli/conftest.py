"""A deployed stage in an emulated account: its stack's outputs, and its two buckets."""

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
from finetuning.runs.status import RunStatus

UPLOAD, ARTIFACTS = "the-upload-bucket", "the-artifacts-bucket"


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
    """`finetune`, as a user types it."""

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(app, list(words), input=stdin, env={"COLUMNS": "200"})
        if isinstance(result.exception, FineTuningError):
            raise result.exception
        return result.exit_code, result.stdout
