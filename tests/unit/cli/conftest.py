"""A deployed stage in an emulated account: its stack's outputs, and its two buckets."""

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.settings import StageSettings
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import ARTIFACTS, UPLOAD, Command


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
        "StageSettings": StageSettings(stage="dev", endpoint_ttl_hours=8, endpoint_idle_minutes=60).model_dump_json(),
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


@pytest.fixture
def finetune() -> Command:
    return Command()


@pytest.fixture
def sent(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of calls to Step Functions, which are not made."""
    calls: list[dict[str, Any]] = []
    for operation in ("send_task_success", "send_task_failure", "stop_execution"):
        monkeypatch.setattr(client("stepfunctions"), operation, lambda _name=operation, **given: calls.append(given))
    return calls
