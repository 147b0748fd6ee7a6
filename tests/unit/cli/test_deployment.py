"""Finding a deployed stage, and the errors if AWS cannot be reached."""

import socket

import pytest
from botocore.exceptions import (
    ConfigParseError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)

from finetuning.aws.clients import client
from finetuning.errors import Code, FineTuningError
from finetuning_cli.stage.deployment import Deployment
from tests.builders.cli import ARTIFACTS, UPLOAD, refused


def test_a_deployment_is_found_by_its_stacks_outputs(deployment: Deployment) -> None:
    assert (deployment.prefix, deployment.upload_bucket, deployment.artifacts_bucket) == (
        "finetune-dev",
        UPLOAD,
        ARTIFACTS,
    )


def test_a_missing_stage_is_reported_with_the_command_that_deploys_it(deployment: Deployment) -> None:
    with pytest.raises(FineTuningError) as caught:
        Deployment.find("prod")
    assert caught.value.code == Code.DEPLOYMENT_NOT_FOUND
    assert "npx cdk deploy --all -c stage=prod" in caught.value.fix


@pytest.mark.parametrize("stage", ["Dev", "my-stage", "a stage", ""])
def test_what_cannot_be_the_name_of_a_stage_is_not_asked_for(deployment: Deployment, stage: str) -> None:
    """CloudFormation refuses some of these names by their pattern, in words that name no stage."""
    with pytest.raises(FineTuningError, match="is not the name of a stage") as caught:
        Deployment.find(stage)
    assert caught.value.code == Code.DEPLOYMENT_NOT_FOUND
    assert "--stage" in caught.value.fix


@pytest.mark.parametrize(
    ("failure", "code", "advice"),
    [
        (NoCredentialsError(), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (ProfileNotFound(profile="nobody"), Code.AWS_NOT_CONFIGURED, "AWS_PROFILE"),
        (NoRegionError(), Code.AWS_NOT_CONFIGURED, "Use --region, or set AWS_REGION."),
        (ConfigParseError(path="/home/me/.aws/config"), Code.AWS_NOT_CONFIGURED, "aws configure"),
        (UnauthorizedSSOTokenError(), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (refused("ExpiredToken"), Code.AWS_NOT_CONFIGURED, "aws sso login"),
        (refused("AccessDenied"), Code.ACCESS_DENIED, "DescribeStacks"),
        (EndpointConnectionError(endpoint_url="https://nowhere"), Code.AWS_UNAVAILABLE, "network"),
        (refused("ValidationError"), Code.REQUEST_INVALID, ""),
    ],
)
def test_each_failure_to_reach_aws_has_its_own_fix(
    aws: None, monkeypatch: pytest.MonkeyPatch, failure: Exception, code: Code, advice: str
) -> None:
    def refuse(**_: object) -> None:
        raise failure

    monkeypatch.setattr(client("cloudformation"), "describe_stacks", refuse)
    with pytest.raises(FineTuningError) as caught:
        Deployment.find("dev")
    assert caught.value.code == code
    assert advice in caught.value.fix


def test_a_stack_without_its_outputs_is_reported_with_its_state(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_made = {"Stacks": [{"StackName": "finetune-dev-workflow", "StackStatus": "ROLLBACK_COMPLETE", "Outputs": []}]}
    monkeypatch.setattr(client("cloudformation"), "describe_stacks", lambda StackName: half_made)  # noqa: N803
    with pytest.raises(FineTuningError, match=r"\(ROLLBACK_COMPLETE\) has no output UploadBucketName") as caught:
        Deployment.find("dev")
    assert caught.value.code == Code.DEPLOYMENT_NOT_FOUND


def test_a_missing_network_is_reported_after_one_try_of_a_second(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listening socket whose queue is full leaves a connection unanswered, as a network without a way out does."""
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        client.cache_clear()
        with pytest.raises(FineTuningError) as caught:
            Deployment.find("dev")
        limits = client("cloudformation").meta.config
        assert (limits.connect_timeout, limits.retries["total_max_attempts"]) == (1, 1), "it is said within 3 seconds"
    assert caught.value.code == Code.AWS_UNAVAILABLE
    assert "Check the network" in caught.value.fix


def test_a_throttled_stack_is_read_again(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([refused("Throttling"), client("cloudformation").describe_stacks(StackName="finetune-dev-workflow")])
    waits: list[float] = []

    def describe_stacks(**_: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(client("cloudformation"), "describe_stacks", describe_stacks)
    monkeypatch.setattr("time.sleep", waits.append)
    assert Deployment.find("dev") == deployment
    assert waits == [1]
