"""The stand-in for SageMaker: what it refuses, how it trains, how it serves."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.runs.tags import RUN_TAG
from rehearsal.jumpstart_cache import PRIVATE_BUCKET
from rehearsal.running import Emulator
from tests.rehearsal.support.sagemaker_account import (
    BASE_PREFIX,
    GATED_KEY,
    Account,
    any_account,
    any_model,
    any_training_job,
    channel,
    configure,
    deploy_model,
    until,
)
from tests.rehearsal.support.stacks import allow, any_function, any_role, invoke


@pytest.fixture(scope="module")
def account(emulator: Emulator) -> Account:
    return any_account(emulator)


@pytest.fixture(scope="module")
def trained(account: Account) -> dict[str, Any]:
    """The description of a job that completed."""
    request = any_training_job(account)
    account.api.create_training_job(**request)
    job = ended(account, request)
    assert job["TrainingJobStatus"] == "Completed", job
    return job


@pytest.fixture(scope="module")
def endpoint(account: Account) -> str:
    """An endpoint of the base model, in service."""
    name = deploy_model(account, any_base_model(account))
    assert in_service(account, name)["EndpointStatus"] == "InService"
    return name


REFUSED = {
    "a name with an underscore": ({"TrainingJobName": "a_b"}, "must satisfy regular expression pattern"),
    "a name of 64 characters": ({"TrainingJobName": "a" * 64}, "length less than or equal to 63"),
    "an unknown instance type": (
        {"ResourceConfig": {"InstanceType": "ml.g5.13xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}},
        "must satisfy enum value set",
    ),
    "a hyperparameter of 2501 characters": ({"HyperParameters": {"seed": "1" * 2501}}, "less than or equal to 2500"),
    "an image outside ECR": (
        {"AlgorithmSpecification": {"TrainingImage": "ubuntu:latest", "TrainingInputMode": "File"}},
        "not the URI of an image",
    ),
    "a volume key on an instance with local disks": (
        {
            "ResourceConfig": {
                "InstanceType": "ml.g5.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30,
                "VolumeKmsKeyId": "1234abcd-12ab-34cd-56ef-1234567890ab",
            }
        },
        "VolumeKmsKeyId is not supported",
    ),
    "a licence not accepted": (
        {"Environment": {"accept_eula": "false", "SageMakerGatedModelS3Uri": f"s3://{PRIVATE_BUCKET}/{GATED_KEY}"}},
        "EULA",
    ),
    "weights that are not there": (
        {"Environment": {"accept_eula": "true", "SageMakerGatedModelS3Uri": f"s3://{PRIVATE_BUCKET}/nowhere.tar.gz"}},
        "Could not access model data",
    ),
    "a role nobody made": ({"RoleArn": "arn:aws:iam::000000000000:role/nobody"}, "Could not assume role"),
    "a subnet nobody made": (
        {"VpcConfig": {"Subnets": ["subnet-0123456789abcdef0"], "SecurityGroupIds": ["sg-0123456789abcdef0"]}},
        "Unable to find the subnets",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_a_training_job_is_refused_for(account: Account, reason: str) -> None:
    changes, words = REFUSED[reason]
    with pytest.raises(ClientError, match="ValidationException") as refused:
        account.api.create_training_job(**any_training_job(account, **changes))
    assert words in str(refused.value)


def test_a_training_job_is_refused_for_an_empty_channel(account: Account) -> None:
    empty = [channel("training", f"s3://{account.bucket}/nothing/")]
    with pytest.raises(ClientError, match="No S3 objects found"):
        account.api.create_training_job(**any_training_job(account, InputDataConfig=empty))


def test_a_training_job_is_refused_for_data_its_role_may_not_list(account: Account) -> None:
    stranger = any_role(account.emulator, "sagemaker.amazonaws.com")
    with pytest.raises(ClientError, match=r"No S3 objects found.*AccessDenied"):
        account.api.create_training_job(**any_training_job(account, RoleArn=stranger))


def test_a_training_job_is_refused_for_a_role_that_sagemaker_may_not_assume(account: Account) -> None:
    other = any_role(account.emulator, "lambda.amazonaws.com")
    with pytest.raises(ClientError, match="Could not assume role"):
        account.api.create_training_job(**any_training_job(account, RoleArn=other))


def test_a_training_job_is_refused_beyond_the_quota(account: Account) -> None:
    resources = {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    with pytest.raises(
        ClientError, match=r"ResourceLimitExceeded.*'ml.p5.48xlarge for training job usage' is 1 Instances"
    ):
        account.api.create_training_job(**any_training_job(account, ResourceConfig=resources))


def test_a_training_job_s_name_is_taken_for_ever(account: Account, trained: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ResourceInUse"):
        account.api.create_training_job(**any_training_job(account, TrainingJobName=trained["TrainingJobName"]))


def test_a_completed_job_passed_through_every_status(trained: dict[str, Any]) -> None:
    passed = [transition["Status"] for transition in trained["SecondaryStatusTransitions"]]
    assert passed == ["Starting", "Downloading", "Training", "Uploading", "Completed"]


def test_a_completed_job_reports_the_metric_its_expression_found(trained: dict[str, Any]) -> None:
    (metric,) = trained["FinalMetricDataList"]
    assert metric["MetricName"] == "huggingface-textgeneration:eval-loss"
    assert metric["Value"] > 0


def test_a_completed_job_leaves_its_model_uncompressed(account: Account, trained: dict[str, Any]) -> None:
    artefact = trained["ModelArtifacts"]["S3ModelArtifacts"]
    assert artefact == f"s3://{account.bucket}/output/{trained['TrainingJobName']}/output/model"
    prefix = artefact.removeprefix(f"s3://{account.bucket}/") + "/"
    listed = account.emulator.client("s3").list_objects_v2(Bucket=account.bucket, Prefix=prefix)["Contents"]
    assert f"{prefix}config.json" in [item["Key"] for item in listed]


def test_a_job_s_lines_are_in_its_log(account: Account, trained: dict[str, Any]) -> None:
    logs = account.emulator.client("logs")
    group = "/aws/sagemaker/TrainingJobs"
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{trained['TrainingJobName']}/")
    lines = logs.get_log_events(logGroupName=group, logStreamName=streams["logStreams"][0]["logStreamName"])["events"]
    assert any("eval_epoch_loss" in line["message"] for line in lines)


def test_a_job_keeps_its_tags(account: Account, trained: dict[str, Any]) -> None:
    tags = account.api.list_tags(ResourceArn=trained["TrainingJobArn"])["Tags"]
    assert tags == [{"Key": RUN_TAG, "Value": "canary"}]


def any_long_job(account: Account, **changes: Any) -> dict[str, Any]:
    """A request for a job that trains for longer than a test waits."""
    hyperparameters = any_training_job(account)["HyperParameters"] | {"epoch": "1000"}
    return any_training_job(account, HyperParameters=hyperparameters, **changes)


def test_a_stopped_job_ends_stopped_without_a_model(account: Account) -> None:
    request = any_long_job(account)
    account.api.create_training_job(**request)
    until(lambda: described(account, request), "SecondaryStatus", "Training")
    account.api.stop_training_job(TrainingJobName=request["TrainingJobName"])
    job = ended(account, request)
    assert (job["TrainingJobStatus"], job.get("ModelArtifacts")) == ("Stopped", None)


def test_a_job_over_its_time_is_stopped(account: Account) -> None:
    request = any_long_job(account, StoppingCondition={"MaxRuntimeInSeconds": 1})
    account.api.create_training_job(**request)
    job = ended(account, request)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_job_that_fails_says_what_its_script_said(account: Account) -> None:
    settings = any_training_job(account)["HyperParameters"] | {"epoch": "many"}
    request = any_training_job(account, HyperParameters=settings)
    account.api.create_training_job(**request)
    job = ended(account, request)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert "epoch" in job["FailureReason"]


def test_a_job_without_weights_fails(account: Account) -> None:
    request = any_training_job(account, Environment={})
    account.api.create_training_job(**request)
    assert "no model weights" in ended(account, request)["FailureReason"]


def test_capacity_can_be_short(account: Account) -> None:
    account.emulator.inject("capacity")
    request = any_training_job(account)
    account.api.create_training_job(**request)
    assert ended(account, request)["FailureReason"].startswith("CapacityError: ")


def test_calls_can_be_throttled(account: Account) -> None:
    account.emulator.inject("throttling", match="ListModels")
    impatient = account.emulator.client("sagemaker", attempts=1)
    with pytest.raises(ClientError, match="ThrottlingException"):
        impatient.list_models()
    impatient.list_models()


def test_jobs_are_listed_by_name_and_status(account: Account, trained: dict[str, Any]) -> None:
    name = trained["TrainingJobName"]
    found = account.api.list_training_jobs(NameContains=name, StatusEquals="Completed")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in found] == [name]
    assert account.api.list_training_jobs(NameContains=name, StatusEquals="Failed")["TrainingJobSummaries"] == []


def test_the_base_model_is_served_only_with_its_licence_accepted(account: Account) -> None:
    model = any_model(account, f"s3://{PRIVATE_BUCKET}/{BASE_PREFIX}")
    with pytest.raises(ClientError, match="EULA"):
        account.api.create_model(**model)


def test_a_model_is_refused_whose_data_is_not_there(account: Account) -> None:
    with pytest.raises(ClientError, match="Could not find model data"):
        account.api.create_model(**any_model(account, f"s3://{account.bucket}/nothing/"))


def test_a_model_is_refused_whose_prefix_does_not_end_in_a_slash(account: Account) -> None:
    with pytest.raises(ClientError, match="forward slash"):
        account.api.create_model(**any_model(account, f"s3://{account.bucket}/train"))


def test_a_model_s_name_can_be_taken(account: Account, endpoint: str) -> None:
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        account.api.create_model(**any_base_model(account) | {"ModelName": endpoint})


def test_a_configuration_is_refused_without_its_model(account: Account) -> None:
    with pytest.raises(ClientError, match="Could not find model"):
        configure(account, "nobody")


def test_what_costs_money_is_listed_with_its_owner_until_it_ends(account: Account, endpoint: str) -> None:
    request = any_training_job(account)
    account.api.create_training_job(**request)
    mine = {thing["name"]: thing for thing in account.emulator.costing()}
    assert (mine[endpoint]["kind"], mine[endpoint]["owner"]) == ("endpoint", "")
    job = mine[request["TrainingJobName"]]
    assert (job["kind"], job["owner"], job["instance_type"]) == ("training job", "canary", "ml.g5.12xlarge")
    account.api.stop_training_job(TrainingJobName=request["TrainingJobName"])
    ended(account, request)
    assert request["TrainingJobName"] not in [thing["name"] for thing in account.emulator.costing()]


def test_an_endpoint_answers_with_generated_text(account: Account, endpoint: str) -> None:
    assert answer(account, endpoint)["generated_text"]


def test_a_tuned_model_is_served_from_its_artefact(account: Account, trained: dict[str, Any]) -> None:
    name = deploy_model(account, any_model(account, trained["ModelArtifacts"]["S3ModelArtifacts"] + "/"))
    in_service(account, name)
    assert "generated_text" in answer(account, name)
    account.api.delete_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        account.api.describe_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="not found"):
        answer(account, name)


def test_a_container_s_error_is_a_model_error(account: Account, endpoint: str) -> None:
    with pytest.raises(ClientError, match=r"ModelError.*Received .* error"):
        account.runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=b"no JSON")


def test_invocations_are_counted_in_cloudwatch(account: Account, endpoint: str) -> None:
    answer(account, endpoint)
    metrics = account.emulator.client("cloudwatch").list_metrics(Namespace="AWS/SageMaker", MetricName="Invocations")
    counted = [dimension for metric in metrics["Metrics"] for dimension in metric["Dimensions"]]
    assert {"Name": "EndpointName", "Value": endpoint} in counted


def test_an_update_can_roll_back_and_the_old_model_still_answers(account: Account, endpoint: str) -> None:
    account.emulator.inject("rollback", match=endpoint)
    following = configure(account, endpoint, f"{endpoint}-next")
    account.api.update_endpoint(EndpointName=endpoint, EndpointConfigName=following)
    assert in_service(account, endpoint)["EndpointConfigName"] == endpoint
    assert answer(account, endpoint)["generated_text"]


def test_data_capture_follows_the_configuration_unless_the_fault_keeps_the_old_one(
    account: Account, endpoint: str
) -> None:
    wanted = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 5,
        "DestinationS3Uri": "s3://captured/here",
        "KmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/any",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    variants = account.api.describe_endpoint_config(EndpointConfigName=endpoint)["ProductionVariants"]
    for name, capture in (("stored", {"DataCaptureConfig": wanted}), ("plain", {})):
        account.api.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **capture)

    def updated_to(name: str) -> dict[str, Any]:
        account.api.update_endpoint(EndpointName=endpoint, EndpointConfigName=name)
        described = in_service(account, endpoint)
        assert described["EndpointConfigName"] == name
        shown: dict[str, Any] = described.get("DataCaptureConfig", {})
        return shown

    shown = updated_to("stored")
    assert (shown["DestinationS3Uri"], shown["CurrentSamplingPercentage"]) == ("s3://captured/here", 5)
    account.emulator.inject("capture-kept", match=endpoint)
    assert updated_to("plain") == shown
    assert updated_to(endpoint) == {}


def test_an_endpoint_can_fail(account: Account) -> None:
    account.emulator.inject("endpoint-fails")
    name = deploy_model(account, any_base_model(account))
    failed = in_service(account, name)
    assert failed["EndpointStatus"] == "Failed"
    assert "ping health check" in failed["FailureReason"]
    account.api.delete_endpoint(EndpointName=name)


def test_an_endpoint_can_hang_until_the_fault_is_cleared(account: Account) -> None:
    account.emulator.inject("endpoint-hangs", match="canary-model")
    name = deploy_model(account, any_base_model(account))
    other = deploy_model(account, any_base_model(account))
    in_service(account, other)
    account.emulator.clear_faults(other)
    assert account.api.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Creating"
    account.emulator.clear_faults("canary-model")
    assert in_service(account, name)["EndpointStatus"] == "InService"
    for each in (name, other):
        account.api.delete_endpoint(EndpointName=each)


CALLER = """
import boto3

def handler(event, context):
    boto3.client("sagemaker").create_model(**event)
"""
PASS_ROLE = {
    **allow("iam:PassRole"),
    "Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
}
CREATE_ISOLATED = {
    **allow("sagemaker:CreateModel", "arn:aws:sagemaker:us-east-1:*:model/canary-*"),
    "Condition": {"Bool": {"sagemaker:NetworkIsolation": "true"}},
}


def test_a_function_may_call_sagemaker_as_its_role_allows(account: Account) -> None:
    assert called(account, any_base_model(account), CREATE_ISOLATED, PASS_ROLE) is None


@pytest.mark.parametrize(
    ("changes", "statements", "refused"),
    [
        ({"ModelName": "other"}, [CREATE_ISOLATED, PASS_ROLE], "sagemaker:CreateModel"),
        ({"EnableNetworkIsolation": False}, [CREATE_ISOLATED, PASS_ROLE], "sagemaker:CreateModel"),
        ({}, [CREATE_ISOLATED], "iam:PassRole"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, [CREATE_ISOLATED, PASS_ROLE], "sagemaker:AddTags"),
    ],
)
def test_a_function_is_refused_for(
    account: Account, changes: dict[str, Any], statements: list[dict[str, Any]], refused: str
) -> None:
    report = called(account, any_base_model(account) | changes, *statements)
    assert "AccessDenied" in report["errorMessage"]
    assert refused in report["errorMessage"]


def called(account: Account, model: dict[str, Any], *statements: dict[str, Any]) -> Any:
    """What a function reports that makes the model with these permissions."""
    role = any_role(account.emulator, "lambda.amazonaws.com", *statements)
    return invoke(account.emulator, any_function(account.emulator, CALLER, role=role), model)


def any_base_model(account: Account) -> dict[str, Any]:
    return any_model(account, f"s3://{PRIVATE_BUCKET}/{BASE_PREFIX}", ModelAccessConfig={"AcceptEula": True})


def described(account: Account, request: dict[str, Any]) -> dict[str, Any]:
    description: dict[str, Any] = account.api.describe_training_job(TrainingJobName=request["TrainingJobName"])
    return description


def ended(account: Account, request: dict[str, Any]) -> dict[str, Any]:
    return until(lambda: described(account, request), "TrainingJobStatus", "Completed", "Failed", "Stopped")


def in_service(account: Account, name: str) -> dict[str, Any]:
    """The endpoint's description once it is in service, or has failed."""
    return until(lambda: account.api.describe_endpoint(EndpointName=name), "EndpointStatus", "InService", "Failed")


def answer(account: Account, name: str) -> dict[str, Any]:
    body = json.dumps({"inputs": "Hello", "parameters": {"max_new_tokens": 8}})
    said = account.runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=body)
    spoken: dict[str, Any] = json.loads(said["Body"].read())
    return spoken
