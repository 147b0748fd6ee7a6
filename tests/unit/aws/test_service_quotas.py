"""Quotas and the instances in use, from answers of the form the service documents."""

import boto3
import pytest
from botocore.stub import Stubber

from finetuning.aws.service_quotas import Quotas, Use
from finetuning.errors import Finding

REGION = "eu-west-1"
G5 = "ml.g5.12xlarge"
AS_NOBODY = {"region_name": REGION, "aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}


def any_quotas(value: float, name: str, running: int = 0) -> Quotas:
    """An account whose one quota is `value`, with that many instances at work."""
    service_quotas, sagemaker = boto3.client("service-quotas", **AS_NOBODY), boto3.client("sagemaker", **AS_NOBODY)
    quota = {"QuotaCode": "L-ABCD1234", "QuotaName": name, "Value": value, "ServiceCode": "sagemaker"}
    stubbed = Stubber(service_quotas)
    stubbed.add_response("list_service_quotas", {"Quotas": [quota]}, {"ServiceCode": "sagemaker"})
    stubbed.activate()
    at_work = Stubber(sagemaker)
    summary = {
        "TrainingJobName": "j",
        "TrainingJobArn": "arn:" + "x" * 20,
        "CreationTime": 0,
        "TrainingJobStatus": "InProgress",
    }
    jobs = [{**summary, "TrainingJobName": f"job-{number}"} for number in range(running)]
    at_work.add_response(
        "list_training_jobs", {"TrainingJobSummaries": jobs}, {"StatusEquals": "InProgress", "MaxResults": 100}
    )
    for job in jobs:
        described = {
            **summary,
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b"},
            "SecondaryStatus": "Training",
            "AlgorithmSpecification": {"TrainingInputMode": "File"},
            "StoppingCondition": {},
            "ResourceConfig": {"InstanceType": G5, "InstanceCount": 1},
        }
        at_work.add_response("describe_training_job", described, {"TrainingJobName": job["TrainingJobName"]})
    at_work.activate()
    return Quotas(service_quotas, sagemaker, REGION)


TRAINING = f"{G5} for training job usage"


@pytest.mark.parametrize(("value", "running"), [(0, 0), (1, 1), (2, 2)])
def test_a_quota_of_none_or_used_up_is_a_finding_with_code_and_link(value: int, running: int) -> None:
    verdict = any_quotas(value, TRAINING, running).check(G5, "training", 1, "training.instance_type")
    assert isinstance(verdict, Finding)
    assert (verdict.code, verdict.field) == ("QUOTA_EXCEEDED", "training.instance_type")
    assert "L-ABCD1234" in verdict.message
    assert (
        f"https://{REGION}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/L-ABCD1234"
        in verdict.fix
    )


def test_a_quota_with_room_is_none() -> None:
    assert any_quotas(2, TRAINING, running=1).check(G5, "training", 1, "") is None


@pytest.mark.parametrize("use", ["training", "endpoint"])
def test_an_unknown_quota_is_said_not_guessed(use: Use) -> None:
    verdict = any_quotas(1, "something else").check(G5, use, 1, "")
    assert isinstance(verdict, str)
    assert G5 in verdict


def test_a_silent_service_is_said() -> None:
    service_quotas = boto3.client("service-quotas", **AS_NOBODY)
    stubbed = Stubber(service_quotas)
    stubbed.add_client_error("list_service_quotas", "AccessDeniedException")
    stubbed.activate()
    verdict = Quotas(service_quotas, boto3.client("sagemaker", **AS_NOBODY), REGION).check(G5, "training", 1, "")
    assert isinstance(verdict, str)
    assert "AccessDenied" in verdict


@pytest.mark.parametrize(
    ("quotas", "concurrency"), [([("Concurrent executions", 1000.0)], 1000), ([("Something else", 5.0)], 10)]
)
def test_lambdas_concurrency_is_read_or_assumed_to_be_a_new_accounts(
    quotas: list[tuple[str, float]], concurrency: int
) -> None:
    service_quotas = boto3.client("service-quotas", **AS_NOBODY)
    stubbed = Stubber(service_quotas)
    listed = [{"QuotaCode": "L-1", "QuotaName": name, "Value": value} for name, value in quotas]
    stubbed.add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "lambda"})
    stubbed.add_client_error("list_service_quotas", "TooManyRequestsException")
    stubbed.activate()
    account = Quotas(service_quotas, None, REGION)
    assert account.lambda_concurrency() == concurrency
    assert account.lambda_concurrency() == 10  # the service does not answer
