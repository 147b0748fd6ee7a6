"""SageMaker's control plane: every call may be repeated, and nothing of somebody else's is touched."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from finetuning.aws.errors import translate_errors
from finetuning.aws.run_store import RunStore, run_store
from finetuning.aws.sagemaker import SageMaker
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.operations.clean_up import expire_failed, remove_unfinished, remove_unused_models
from finetuning.operations.endpoint_updates import Fleet, create_or_update, restore_live_model
from finetuning.runs.names import Names
from finetuning.runs.tags import OWNER_TAG, REPLACES_TAG, RUN_TAG, TTL_TAG
from tests.builders.memory import any_environment

ROLE = "arn:aws:iam::123456789012:role/SageMakerExecution"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
NAMES = Names("finetune-dev", "faq-0123abcd")
ONE = Fleet(instances=1, scaled=False, timeout_seconds=3600)
NO_RUNS = RunStore(None, "no-bucket", "no-key")
"""For what never gets to ask it."""


def tags(run_id: str) -> list[dict[str, str]]:
    return [{"Key": RUN_TAG, "Value": run_id}, {"Key": OWNER_TAG, "Value": "finetune-dev"}]


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
        create_or_update(sagemaker, NO_RUNS, any_endpoint(), TOPIC, ONE)
    assert [endpoint["EndpointName"] for endpoint in sagemaker.endpoints("finetune-dev-")] == [NAMES.endpoint]


def test_somebody_elses_endpoint_is_never_updated(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config("theirs"))
    api.create_endpoint(EndpointName=NAMES.endpoint, EndpointConfigName="theirs")
    with pytest.raises(FineTuningError) as refusal:
        create_or_update(sagemaker, NO_RUNS, any_endpoint(), TOPIC, ONE)
    assert refusal.value.code == Code.ENDPOINT_NAME_TAKEN


def test_clean_up_leaves_a_serving_endpoint_and_may_be_repeated(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config())
    create_or_update(sagemaker, NO_RUNS, any_endpoint(), TOPIC, ONE)
    assert remove_unfinished(sagemaker, NAMES) == []
    assert sagemaker.describe_endpoint(NAMES.endpoint) is not None


def serving(api: Any) -> SageMaker:
    """With an endpoint that serves the run's model."""
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config())
    sagemaker.create_endpoint(any_endpoint())
    return sagemaker


@pytest.mark.parametrize(
    ("status", "goes"),
    [("Creating", True), ("Failed", True), ("Updating", False), ("SystemUpdating", False), ("RollingBack", False)],
)
def test_clean_up_takes_only_endpoints_that_never_served(
    api: Any, monkeypatch: pytest.MonkeyPatch, status: str, goes: bool
) -> None:
    sagemaker = serving(api)
    describe = api.describe_endpoint
    monkeypatch.setattr(api, "describe_endpoint", lambda **name: {**describe(**name), "EndpointStatus": status})
    assert remove_unfinished(sagemaker, NAMES) == ([f"Deleted the endpoint {NAMES.endpoint}"] if goes else [])


def ttl_of(api: Any) -> str:
    arn = api.describe_endpoint(EndpointName=NAMES.endpoint)["EndpointArn"]
    return SageMaker(api).tags(arn)[TTL_TAG]


@pytest.mark.parametrize(("ttl", "left"), [("never", "8"), ("2", "2")])
def test_an_endpoint_whose_run_failed_does_not_stay_for_ever(
    api: Any, monkeypatch: pytest.MonkeyPatch, ttl: str, left: str
) -> None:
    sagemaker = serving(api)
    sagemaker.tag_endpoint(NAMES.endpoint, {TTL_TAG: ttl})
    (line,) = expire_failed(sagemaker, NAMES)
    assert NAMES.endpoint in line
    assert ttl_of(api) == left


def test_an_endpoint_that_served_before_stays_and_the_way_back_is_told(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in any_environment().items():
        monkeypatch.setenv(name, value)
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    config = any_endpoint_config()
    sagemaker.create_endpoint_config({**config, "Tags": [*config["Tags"], {"Key": REPLACES_TAG, "Value": "old"}]})
    sagemaker.create_endpoint(any_endpoint())
    sagemaker.tag_endpoint(NAMES.endpoint, {TTL_TAG: "never"})
    (line,) = expire_failed(sagemaker, NAMES)
    assert f"finetune rollback {NAMES.endpoint}" in line
    assert ttl_of(api) == "never"


def test_an_endpoint_that_is_being_changed_is_left_alone(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    for config in (NAMES.endpoint_config, "finetune-dev-next"):
        sagemaker.create_endpoint_config(any_endpoint_config(config))
    sagemaker.create_endpoint(any_endpoint())
    describe = api.describe_endpoint
    monkeypatch.setattr(api, "describe_endpoint", lambda **name: {**describe(**name), "EndpointStatus": "Updating"})
    with pytest.raises(FineTuningError) as refusal:
        create_or_update(sagemaker, NO_RUNS, any_endpoint("finetune-dev-next"), TOPIC, ONE)
    assert refusal.value.code == Code.ENDPOINT_BUSY


def test_after_an_update_that_came_to_nothing_tags_stay_where_the_configuration_is_gone(api: Any) -> None:
    sagemaker = serving(api)
    sagemaker.delete_endpoint_config(NAMES.endpoint_config)
    endpoint = sagemaker.describe_endpoint(NAMES.endpoint)
    assert endpoint
    restore_live_model(sagemaker, NO_RUNS, endpoint, TOPIC)
    assert sagemaker.tags(endpoint["EndpointArn"])[RUN_TAG] == NAMES.run_id


def test_what_was_made_just_now_may_not_be_found_yet(api: Any) -> None:
    sagemaker = SageMaker(api)
    for operation in ("create_endpoint_config", "create_endpoint"):
        with Stubber(api) as stubber:
            stubber.add_client_error(operation, "ValidationException", f'Could not find model "{NAMES.model}".')
            request = any_endpoint() if operation == "create_endpoint" else any_endpoint_config()
            with pytest.raises(TransientAwsError):
                getattr(sagemaker, operation)(request)


def test_a_model_without_data_is_not_tried_again(api: Any) -> None:
    with Stubber(api) as stubber:
        stubber.add_client_error("create_model", "ValidationException", "Could not find model data at s3://b/m/.")
        with pytest.raises(FineTuningError) as refusal:
            SageMaker(api).create_model(any_model())
    assert not isinstance(refusal.value, TransientAwsError)


def test_an_endpoint_asked_for_twice_is_one(api: Any) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{NAMES.endpoint}"
    now = datetime.now(UTC)
    described = {
        "EndpointName": NAMES.endpoint, "EndpointArn": arn, "EndpointConfigName": NAMES.endpoint_config,
        "EndpointStatus": "Creating", "CreationTime": now, "LastModifiedTime": now,
    }  # fmt: skip
    with Stubber(api) as stubber:
        taken = f'Cannot create already existing endpoint "{arn}".'
        stubber.add_client_error("create_endpoint", "ValidationException", taken)
        stubber.add_response("describe_endpoint", described)
        stubber.add_response("list_tags", {"Tags": tags(NAMES.run_id)})
        assert SageMaker(api).create_endpoint(any_endpoint()) == arn


def test_what_is_gone_has_no_tags(api: Any) -> None:
    with Stubber(api) as stubber:
        stubber.add_client_error("list_tags", "ValidationException", "Could not find resource arn:…")
        assert SageMaker(api).tags("arn:aws:sagemaker:us-east-1:123456789012:endpoint/gone") == {}


def test_an_endpoint_stops_costing_money_before_what_else_may_fail(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker = serving(api)
    refusal = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DeleteEndpointConfig")
    monkeypatch.setattr(api, "delete_endpoint_config", _raising(refusal))
    with pytest.raises(FineTuningError):
        sagemaker.delete_endpoint(NAMES.endpoint)
    assert sagemaker.describe_endpoint(NAMES.endpoint) is None


def _raising(error: Exception) -> Any:
    def call(**_: Any) -> None:
        raise error

    return call


def test_left_overs_are_only_what_this_stage_made(api: Any, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="artifacts")
    for name, value in any_environment().items():
        monkeypatch.setenv(name, value)
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_model({**any_model(), "ModelName": "finetune-dev-of-somebody", "Tags": []})
    assert remove_unused_models(sagemaker, run_store()) == [f"Deleted the model {NAMES.model}"]


def test_clean_up_deletes_the_temporary_base_endpoint(api: Any) -> None:
    sagemaker = SageMaker(api)
    sagemaker.create_model(any_model())
    sagemaker.create_endpoint_config(any_endpoint_config(NAMES.base))
    api.create_endpoint(EndpointName=NAMES.base, EndpointConfigName=NAMES.base)
    assert remove_unfinished(sagemaker, NAMES) == [f"Deleted the endpoint {NAMES.base}"]
    assert remove_unfinished(sagemaker, NAMES) == []


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
    with pytest.raises(FineTuningError, match="start the job") as failure, translate_errors("start the job"):
        raise ClientError({"Error": {"Code": aws_code, "Message": "because"}}, "CreateTrainingJob")
    assert failure.value.code == code
    assert isinstance(failure.value, TransientAwsError) == (code is Code.AWS_UNAVAILABLE)
