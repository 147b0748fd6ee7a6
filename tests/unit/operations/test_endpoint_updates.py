"""An endpoint's way to its model: configuration, alarms and autoscaling change together."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.errors import Code, EndpointFailed, FineTuningError, TransientAwsError
from finetuning.jumpstart.target import VARIANT
from finetuning.operations.endpoint_life import endpoint_state
from finetuning.operations.endpoint_updates import (
    Fleet,
    create_or_update,
    earlier_request,
    instances,
    restore_live_model,
)
from finetuning.runs.expiry import Lifetime, deployed_tag, lifetime_tags
from finetuning.runs.guardrails import ROLLBACK_SECONDS, deployment_config
from finetuning.runs.names import Names
from finetuning.runs.tags import DEPLOYED_TAG
from tests.builders.aws import FakeAws, FakeSageMaker, client_error, hours_ago
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

NAMES = Names(PREFIX, RUN_ID, "faq")
OLD = f"{PREFIX}-older-00000000"
TOPIC = "arn:topic"
SCALED = {"min_instances": 1, "max_instances": 4, "invocations_per_instance": 60}


@pytest.fixture
def account(cloud: FakeAws) -> FakeSageMaker:
    return cloud.sagemaker


@pytest.fixture
def api(account: FakeSageMaker) -> SageMaker:
    return sagemaker()


def put(api: SageMaker, store: MemoryStore, instances: int = 1, scaled: bool = False) -> None:
    """Puts the endpoint on the run's configuration."""
    request: dict[str, Any] = {
        "EndpointName": NAMES.endpoint,
        "EndpointConfigName": NAMES.endpoint_config,
        "Tags": [{"Key": "finetune:run-id", "Value": RUN_ID}, {"Key": "finetune:created-by", "Value": PREFIX}],
    }
    create_or_update(api, store, request, TOPIC, Fleet(instances, scaled, timeout_seconds=3600))


def test_a_new_endpoint_is_created_and_watched_as_a_whole(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    put(api, memory)
    assert account.endpoint(NAMES.endpoint)["EndpointConfigName"] == NAMES.endpoint_config
    alarms = cloud["cloudwatch"].requests("put_metric_alarm")
    assert alarms
    assert NAMES.endpoint_config not in str([alarm["Dimensions"] for alarm in alarms])


@pytest.mark.parametrize("taken", [False, True])
def test_an_endpoint_that_is_refused_leaves_no_alarms_to_pay_for(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore, taken: bool
) -> None:
    """Those of an endpoint that another run creates at the same moment are kept: they have the same names."""

    def create(**_: Any) -> Any:
        if taken:
            account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", status="Creating")
            raise client_error("ValidationException", "Cannot create already existing endpoint")
        raise client_error("ResourceLimitExceeded", "0 Instances")

    account.answers["create_endpoint"] = create
    with pytest.raises(FineTuningError) as refused:
        put(api, memory)
    assert refused.value.code == (Code.ENDPOINT_BUSY if taken else Code.QUOTA_EXCEEDED)
    assert NAMES.endpoint in refused.value.message
    set_up = {alarm["AlarmName"] for alarm in cloud["cloudwatch"].requests("put_metric_alarm")}
    deleted = {name for request in cloud["cloudwatch"].requests("delete_alarms") for name in request["AlarmNames"]}
    assert deleted == (set() if taken else set_up)
    assert set_up


def test_scaling_ends_and_the_new_fleet_is_watched_before_the_update(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    """SageMaker refuses another instance type while a variant is registered for scaling."""
    seen: list[bool] = []
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000")

    def update_endpoint(**_: Any) -> Any:
        watched = str([alarm["Dimensions"] for alarm in cloud["cloudwatch"].requests("put_metric_alarm")])
        ended = cloud["application-autoscaling"].requests("deregister_scalable_target")
        seen.append(bool(ended) and NAMES.endpoint_config in watched)
        return {"EndpointArn": account.endpoint(NAMES.endpoint)["EndpointArn"]}

    account.answers["update_endpoint"] = update_endpoint
    put(api, memory)
    assert seen == [True]


@pytest.mark.parametrize(("now", "scaled", "kept"), [(3, True, True), (1, True, False), (3, False, False)])
def test_only_a_fleet_that_grew_and_is_to_follow_its_traffic_keeps_its_instances(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore, now: int, scaled: bool, kept: bool
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", instances=now)
    put(api, memory, instances=1, scaled=scaled)
    (update,) = account.requests("update_endpoint")
    assert update["RetainAllVariantProperties"] is kept


def test_an_update_to_the_configuration_it_has_or_goes_to_only_sets_the_tags(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    endpoint = account.add_endpoint(NAMES.endpoint, OLD, "older-00000000")
    put(api, memory)
    assert endpoint["EndpointStatus"] == "Updating"
    put(api, memory)
    assert len(account.requests("update_endpoint")) == 1
    assert DEPLOYED_TAG not in account.tags_of("endpoint", NAMES.endpoint)
    endpoint["EndpointConfigName"], endpoint["EndpointStatus"] = NAMES.endpoint_config, "InService"
    del endpoint["PendingDeploymentSummary"]
    put(api, memory)
    assert len(account.requests("update_endpoint")) == 1
    assert account.tags_of("endpoint", NAMES.endpoint)[DEPLOYED_TAG].startswith(NAMES.endpoint_config)


def test_the_lifetime_of_an_endpoint_does_not_begin_before_it_serves(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status="Creating")
    put(api, memory)
    assert DEPLOYED_TAG not in account.tags_of("endpoint", NAMES.endpoint)


def test_an_endpoint_that_is_deployed_again_lives_as_long_as_this_deployment_says(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    """It was to expire in some minutes, and the message of the run says: after 8 hours."""
    account.add_endpoint(
        NAMES.endpoint,
        NAMES.endpoint_config,
        hours_old=7.9,
        tags=lifetime_tags(8, 480) | deployed_tag(NAMES.endpoint_config, hours_ago(7.9)),
    )
    put(api, memory)
    state = endpoint_state(api, NAMES.endpoint, Lifetime(1, "never"), datetime.now(UTC))
    assert state
    assert state.deadline
    assert state.deadline.at > datetime.now(UTC) + timedelta(hours=7.9)


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"])
def test_an_endpoint_that_sagemaker_is_working_on_is_left_alone(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore, status: str
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", status=status)
    with pytest.raises(FineTuningError) as busy:
        put(api, memory)
    assert busy.value.code == Code.ENDPOINT_BUSY
    assert not cloud["application-autoscaling"].calls
    assert not cloud["cloudwatch"].calls


def test_somebody_elses_endpoint_is_never_updated(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, "theirs", None)
    with pytest.raises(FineTuningError) as taken:
        put(api, memory)
    assert taken.value.code == Code.ENDPOINT_NAME_TAKEN
    assert not account.requests("update_endpoint")
    assert not cloud["application-autoscaling"].calls


def test_after_a_refused_update_everything_is_that_of_the_model_that_serves(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    any_run(memory, "older-00000000", endpoint=any_plan().endpoint.model_dump() | {"autoscaling": SCALED})
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", config_tags={"finetune:ttl-hours": "72"})
    account.refuse("update_endpoint", "ResourceLimitExceeded")
    with pytest.raises(FineTuningError) as refused:
        put(api, memory)
    assert refused.value.code == Code.QUOTA_EXCEEDED
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "72"
    assert OLD in str(cloud["cloudwatch"].requests("put_metric_alarm")[-1]["Dimensions"])
    assert cloud["application-autoscaling"].requests("register_scalable_target")
    assert watched(cloud)[-1] == (NAMES.endpoint, OLD, [TOPIC])


@pytest.mark.parametrize("gone", [True, False])
def test_an_update_that_fails_because_the_old_configuration_was_deleted_names_it_and_is_not_retried(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore, gone: bool
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000")
    if gone:
        del account.things["endpoint_config"][OLD]
    account.refuse("update_endpoint", "ValidationException", f'Could not find endpoint configuration "{OLD}".')
    with pytest.raises(FineTuningError) as failure:
        put(api, memory)
    assert isinstance(failure.value, EndpointFailed if gone else TransientAwsError)
    if gone:
        assert failure.value.code == Code.ENDPOINT_FAILED
        assert f"its configuration {OLD}, which still serves, was deleted" in failure.value.message
        assert f"delete-endpoint --endpoint-name {NAMES.endpoint}" in failure.value.fix


def test_without_the_configuration_that_serves_tags_and_scaling_are_not_known(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    endpoint = account.add_endpoint(NAMES.endpoint, OLD)
    account.things["endpoint_config"].clear()
    restore_live_model(api, memory, endpoint, TOPIC)
    assert cloud["cloudwatch"].requests("put_metric_alarm")
    assert not account.requests("add_tags")
    assert not cloud["application-autoscaling"].calls


def test_the_way_back_is_the_configuration_that_was_replaced(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint(OLD, OLD, "older-00000000", instances=2)
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, config_tags={"finetune:replaces": OLD})
    request, instances = earlier_request(api, NAMES.endpoint)
    assert (request["EndpointName"], request["EndpointConfigName"], instances) == (NAMES.endpoint, OLD, 2)
    assert {"Key": "finetune:run-id", "Value": "older-00000000"} in request["Tags"]


@pytest.mark.parametrize("tags", [{}, {"finetune:replaces": "deleted"}])
def test_without_an_earlier_configuration_there_is_no_way_back(
    account: FakeSageMaker, api: SageMaker, tags: dict[str, str]
) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, config_tags=tags)
    with pytest.raises(FineTuningError) as refused:
        earlier_request(api, NAMES.endpoint)
    assert refused.value.code == Code.NOTHING_TO_ROLL_BACK_TO
    asked = [request["EndpointConfigName"] for request in account.requests("describe_endpoint_config")]
    assert asked == [NAMES.endpoint_config, *tags.values()]


def test_an_endpoint_that_is_not_there_has_no_way_back(api: SageMaker) -> None:
    with pytest.raises(FineTuningError) as refused:
        earlier_request(api, NAMES.endpoint)
    assert refused.value.code == Code.ENDPOINT_NOT_FOUND


def watched(cloud: FakeAws) -> list[tuple[str, str | None, list[str]]]:
    """Endpoint, configuration and topic of each alarm that was set, once."""
    found: list[tuple[str, str | None, list[str]]] = []
    for alarm in cloud["cloudwatch"].requests("put_metric_alarm"):
        dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        entry = (dimensions["EndpointName"], dimensions.get("EndpointConfigName"), alarm["AlarmActions"])
        if entry not in found:
            found.append(entry)
    return found


def test_alarms_are_those_of_the_endpoint_and_tell_the_topic(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    put(api, memory)
    assert watched(cloud) == [(NAMES.endpoint, None, [TOPIC])]


def test_an_update_is_watched_with_its_guardrails_and_scaling_ends_on_that_endpoint(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", instances=3)
    put(api, memory, instances=2)
    assert watched(cloud) == [(NAMES.endpoint, NAMES.endpoint_config, [TOPIC])]
    (ended,) = cloud["application-autoscaling"].requests("deregister_scalable_target")
    assert ended["ResourceId"] == f"endpoint/{NAMES.endpoint}/variant/{VARIANT}"
    (update,) = account.requests("update_endpoint")
    assert update["DeploymentConfig"] == deployment_config(NAMES.endpoint, 2, 3600 + ROLLBACK_SECONDS)


@pytest.mark.parametrize(("now", "canary"), [(3, True), (1, False)])
def test_a_fleet_that_grew_is_updated_by_a_canary(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore, now: int, canary: bool
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", instances=now)
    put(api, memory, instances=1, scaled=True)
    (update,) = account.requests("update_endpoint")
    routing = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"] == "CANARY") is canary


def test_tags_are_set_again_on_an_endpoint_that_has_the_configuration(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, "older-00000000")
    put(api, memory)
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:run-id"] == RUN_ID


def test_a_busy_endpoint_is_named(account: FakeSageMaker, api: SageMaker, memory: MemoryStore) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", status="Updating")
    with pytest.raises(FineTuningError, match=NAMES.endpoint):
        put(api, memory)


def test_an_endpoint_that_is_not_in_service_yet_has_no_instances() -> None:
    assert instances({}) == 0
    assert instances({"ProductionVariants": [{}]}) == 0
    assert instances({"ProductionVariants": [{"CurrentInstanceCount": 2}, {"CurrentInstanceCount": 1}]}) == 3


def test_the_alarms_and_scaling_that_are_restored_are_those_of_the_endpoint(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    any_run(memory, "older-00000000", endpoint=any_plan().endpoint.model_dump() | {"autoscaling": SCALED})
    endpoint = account.add_endpoint(NAMES.endpoint, OLD, "older-00000000")
    restore_live_model(api, memory, endpoint, TOPIC)
    assert watched(cloud) == [(NAMES.endpoint, OLD, [TOPIC])]
    (scaled,) = cloud["application-autoscaling"].requests("register_scalable_target")
    assert scaled["ResourceId"] == f"endpoint/{NAMES.endpoint}/variant/{VARIANT}"


@pytest.mark.parametrize("run_id", ["older-00000000", None])
def test_a_model_that_was_not_scaled_or_has_no_run_is_not_scaled_again(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker, memory: MemoryStore, run_id: str | None
) -> None:
    any_run(memory, "older-00000000")
    restore_live_model(api, memory, account.add_endpoint(NAMES.endpoint, OLD, run_id), TOPIC)
    assert not cloud["application-autoscaling"].calls


def test_a_way_back_that_is_not_there_is_explained(account: FakeSageMaker, api: SageMaker) -> None:
    with pytest.raises(FineTuningError, match=NAMES.endpoint) as absent:
        earlier_request(api, NAMES.endpoint)
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config)
    account.things["endpoint_config"].clear()
    with pytest.raises(FineTuningError, match=NAMES.endpoint) as nothing:
        earlier_request(api, NAMES.endpoint)
    assert "finetune endpoints" in absent.value.fix
    assert "finetune deploy" in nothing.value.fix


def test_a_fleet_that_is_not_scaled_is_guarded_by_the_size_it_is_to_have(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, OLD, "older-00000000", instances=1)
    put(api, memory, instances=2)
    (update,) = account.requests("update_endpoint")
    assert update["DeploymentConfig"] == deployment_config(NAMES.endpoint, 2, 3600 + ROLLBACK_SECONDS)
