"""SageMaker's control plane: every call may be repeated, and nothing of somebody else's is touched."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from finetuning.aws.clean_up import remove_half_made
from finetuning.aws.faults import explained
from finetuning.aws.hosting import bring_live
from finetuning.aws.sagemaker import SageMaker
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.runs.names import Names

ROLE = "arn:aws:iam::123456789012:role/SageMakerExecution"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
NAMES = Names("finetune-dev", "faq-0123abcd")


def tags(run_id: str) -> list[dict[str, str]]:
    return [{"Key": "finetune:run-id", "Value": run_id}, {"Key": "finetune:created-by", "Value": "finetune-dev"}]


def any_model(run_id: str = NAMES.run_id) -> dict[str, Any]:
    container = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/djl:1"}
    return {"ModelName": NAMES.model, "ExecutionRoleArn": ROLE, "PrimaryContainer": container, "Tags": tags(run_id)}


def any_endpoint_config(name: str = NAMES.endpoint_config) -> dict[str, Any]:
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": NAMES.model,
        "InstanceType": "ml.g4dn.12xlarge",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant], "Tags": tags(NAMES.run_id)}


def any_endpoint(config: str = NAMES.endpoint_config) -> dict[str, Any]:
    return {"EndpointName": NAMES.endpoint, "EndpointConfigName": config, "Tags": tags(NAMES.run_id)}


@pytest.fixture
def api(aws: None) -> Any:
    return boto3.client("sagemaker", region_name="us-east-1")


@pytest.fixture
def model_exists(api: Any) -> Iterator[Stubber]:
    """SageMaker refuses the model's name, in its own words (moto would overwrite the model)."""
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model/{NAMES.model}"
    described = {"ModelName": NAMES.model, "ModelArn": arn, "CreationTime": datetime.now(UTC)}
    with Stubber(api) as stubber:
        stubber.add_client_error(
            "create_model", "ValidationException", f'Cannot create already existing model "{arn}".'
        )
        stubber.add_response("describe_model", described)
        yield stubber


def test_a_repeated_step_finds_what_it_made_the_first_time(api: Any, model_exists: Stubber) -> None:
    model_exists.add_response("list_tags", {"Tags": tags(NAMES.run_id)})
    assert SageMaker(api).create_model(any_model()).endswith(NAMES.model)


def test_a_name_that_another_run_has_taken_is_an_error(api: Any, model_exists: Stubber) -> None:
    model_exists.add_response("list_tags", {"Tags": tags("other-00000000")})
    with pytest.raises(FineTuningError, match="did not make"):
        SageMaker(api).create_model(any_model())


def test_an_endpoint_is_created_once_and_a_repeat_changes_nothing(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config())
    for _ in range(2):
        bring_live(sagemaker, any_endpoint(), TOPIC, 1, 3600)
    assert [endpoint["EndpointName"] for endpoint in sagemaker.endpoints("finetune-dev-")] == [NAMES.endpoint]


def test_somebody_elses_endpoint_is_never_updated(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config("theirs"))
    api.create_endpoint(EndpointName=NAMES.endpoint, EndpointConfigName="theirs")
    with pytest.raises(FineTuningError) as refusal:
        bring_live(sagemaker, any_endpoint(), TOPIC, 1, 3600)
    assert refusal.value.code == Code.ENDPOINT_NAME_TAKEN


def test_clean_up_leaves_a_serving_endpoint_and_may_be_repeated(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config())
    bring_live(sagemaker, any_endpoint(), TOPIC, 1, 3600)
    assert remove_half_made(sagemaker, NAMES) == []
    assert sagemaker.describe_endpoint(NAMES.endpoint) is not None


def test_clean_up_deletes_the_temporary_base_endpoint(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config(NAMES.base))
    api.create_endpoint(EndpointName=NAMES.base, EndpointConfigName=NAMES.base)
    assert remove_half_made(sagemaker, NAMES) == [f"Deleted the endpoint {NAMES.base}"]
    assert remove_half_made(sagemaker, NAMES) == []


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(api: Any) -> None:
    sagemaker = SageMaker(api)
    assert sagemaker.describe_training_job("nothing") is None
    assert sagemaker.delete_endpoint("nothing") is False
    sagemaker.delete_model("nothing")
    sagemaker.delete_endpoint_config("nothing")


@pytest.mark.parametrize(
    ("aws_code", "code"),
    [
        ("ThrottlingException", Code.AWS_UNAVAILABLE),
        ("ResourceLimitExceeded", Code.QUOTA_EXCEEDED),
        ("AccessDeniedException", Code.ACCESS_DENIED),
        ("ValidationException", Code.REQUEST_INVALID),
    ],
)
def test_awss_errors_are_told_apart_by_what_a_user_can_do(aws_code: str, code: Code) -> None:
    with pytest.raises(FineTuningError, match="start the job") as failure, explained("start the job"):
        raise ClientError({"Error": {"Code": aws_code, "Message": "because"}}, "CreateTrainingJob")
    assert failure.value.code == code
    assert isinstance(failure.value, TransientAwsError) == (code is Code.AWS_UNAVAILABLE)
