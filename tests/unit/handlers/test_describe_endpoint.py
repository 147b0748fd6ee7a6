"""DescribeEndpoint: wait, go on, or fail with what is left in order."""

from typing import Any

import pytest

from finetuning.errors import Code, EndpointFailed, TransientAwsError
from finetuning.handlers import describe_endpoint
from finetuning.operations.run import Run, target
from finetuning.runs.endpoint_plan import Autoscaling, HostingOption
from finetuning.runs.plan import RunPlan
from rehearsal.emulator.sagemaker.errors import ENDPOINT_CAPACITY_REASON
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

LIVE = f"{PREFIX}-{RUN_ID}"
SCALED = Autoscaling(min_instances=2, max_instances=4, invocations_per_instance=60)


@pytest.mark.parametrize(("status", "outcome"), [("InService", "in_service"), ("Creating", "in_progress")])
def test_the_outcome_is_the_endpoints(cloud: FakeAws, memory: MemoryStore, status: str, outcome: str) -> None:
    run = any_run(memory)
    cloud.sagemaker.add_endpoint(status=status)
    result = invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert result["outcome"] == outcome
    assert run.status.events[-1].message == f"{LIVE}: {status}"


def test_the_type_that_sagemaker_chose_of_the_pools_sets_the_price(cloud: FakeAws, memory: MemoryStore) -> None:
    prices = {"ml.g5.4xlarge": 2.03, "ml.g5.12xlarge": 7.09}
    pools = [HostingOption(instance_type=each, usd_per_hour=usd).model_dump() for each, usd in prices.items()]
    changes = {"instance_type": "ml.g5.4xlarge", "usd_per_hour": 7.09, "pools": pools}
    run = any_run(memory, endpoint=any_plan().endpoint.model_dump() | changes)
    live = cloud.sagemaker.add_endpoint()
    live["ProductionVariants"][0]["InstancePools"] = [
        {"InstanceType": "ml.g5.4xlarge", "CurrentInstanceCount": 1},
        {"InstanceType": "ml.g5.12xlarge", "CurrentInstanceCount": 0},
    ]
    invoke(describe_endpoint, run_id=RUN_ID, variant="live", instance_type="ml.g5.4xlarge")
    planned = memory.load(run.layout.plan, RunPlan).endpoint
    assert (planned.usd_per_hour, planned.serving_types) == (2.03, ["ml.g5.4xlarge"])
    assert run.status.events[-1].message == f"{LIVE}: InService on ml.g5.4xlarge"


def captured(percentage: int, run_id: str = RUN_ID) -> dict[str, Any]:
    destination = f"s3://{target().bucket}/runs/{run_id}/capture"
    return {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": percentage,
        "DestinationS3Uri": destination,
        "KmsKeyId": target().kms_key_arn,
    }


@pytest.mark.parametrize(
    ("wanted", "actual", "message"),
    [
        (0, (0, RUN_ID), None),
        (5, (5, RUN_ID), None),
        (0, (5, "older-00000000"), "stores 5 % of the invocations in s3://*/older-00000000/capture instead of no "),
        (5, (0, RUN_ID), f"stores no invocations instead of 5 % of the invocations in s3://*/{RUN_ID}/capture."),
        (5, (5, "older-00000000"), "in s3://*/older-00000000/capture instead of 5 %"),
        (5, (50, RUN_ID), "stores 50 % of the invocations"),
    ],
)
def test_an_endpoint_that_stores_calls_otherwise_than_the_run_asks_fails_loudly(
    cloud: FakeAws, memory: MemoryStore, wanted: int, actual: tuple[int, str], message: str | None
) -> None:
    any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"data_capture_percentage": wanted})
    live = cloud.sagemaker.add_endpoint()
    if actual[0]:
        live["DataCaptureConfig"] = captured(*actual)
    if message is None:
        assert invoke(describe_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "in_service"
        return
    with pytest.raises(EndpointFailed) as failure:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failure.value.code == Code.ENDPOINT_CAPTURE_DIFFERS
    assert message.replace("*", f"{target().bucket}/runs") in failure.value.message
    assert f"finetune rollback {LIVE}" in failure.value.fix


def test_what_an_endpoint_stores_is_compared_once_it_is_in_service(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(status="Updating")["DataCaptureConfig"] = captured(5, "older-00000000")
    assert invoke(describe_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "in_progress"


def test_the_wait_grows_with_the_time_since_the_last_change(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(status="Creating", hours_old=0.1)
    assert invoke(describe_endpoint, run_id=RUN_ID, variant="live")["wait_seconds"] == pytest.approx(18, abs=2)


@pytest.mark.parametrize("variant", ["base", "candidate"])
def test_a_temporary_endpoint_is_looked_at_by_its_own_name(cloud: FakeAws, memory: MemoryStore, variant: str) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(f"{LIVE}-{variant}", f"{LIVE}-{variant}")
    assert invoke(describe_endpoint, run_id=RUN_ID, variant=variant)["outcome"] == "in_service"


def test_an_endpoint_that_is_not_found_is_looked_for_again_before_it_fails_the_run(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    """It was created seconds ago, and SageMaker's reads are eventually consistent. The fix needs no training."""
    any_run(memory)
    with pytest.raises(TransientAwsError) as failure:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failure.value.code == Code.ENDPOINT_FAILED
    assert "finetune deploy" in failure.value.fix


def test_an_endpoint_that_failed_is_left_as_it_is_for_the_clean_up(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(status="Failed")
    with pytest.raises(EndpointFailed):
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert not cloud["cloudwatch"].calls


def test_after_a_rollback_tags_alarms_and_scaling_are_those_of_the_model_that_serves(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory)
    older = f"{PREFIX}-older-00000000"
    any_run(memory, "older-00000000", endpoint=any_plan().endpoint.model_dump() | {"autoscaling": SCALED})
    cloud.sagemaker.add_endpoint(config=older, config_tags={"finetune:run-id": "older-00000000"})
    with pytest.raises(EndpointFailed) as failed:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failed.value.code == Code.ENDPOINT_ROLLED_BACK
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:run-id"] == "older-00000000"
    assert older in str(cloud["cloudwatch"].requests("put_metric_alarm")[-1]["Dimensions"])
    (target,) = cloud["application-autoscaling"].requests("register_scalable_target")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)


def test_without_the_earlier_configuration_tags_and_scaling_stay_as_they_are(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(config="deleted")
    del cloud.sagemaker.things["endpoint_config"]["deleted"]
    with pytest.raises(EndpointFailed):
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:run-id"] == RUN_ID
    assert not cloud["application-autoscaling"].calls


NO_CAPACITY = ENDPOINT_CAPACITY_REASON
NEXT = HostingOption(instance_type="ml.g5.48xlarge", usd_per_hour=20.36)


def with_fallback(memory: MemoryStore) -> Run:
    return any_run(memory, endpoint=any_plan().endpoint.model_copy(update={"fallbacks": [NEXT]}).model_dump())


def test_without_capacity_the_next_type_is_tried_and_a_repeated_step_skips_none(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = with_fallback(memory)
    first = run.plan.endpoint.instance_type
    cloud.sagemaker.add_endpoint(status="Failed", hours_old=0.5)["FailureReason"] = NO_CAPACITY
    for _ in range(2):
        result = invoke(describe_endpoint, run_id=RUN_ID, variant="live", instance_type=first)
        assert result["outcome"] == "retry_elsewhere"
    endpoint = Run(RUN_ID, store=memory, prefix=PREFIX).plan.endpoint
    assert (endpoint.instance_type, endpoint.usd_per_hour, endpoint.fallbacks) == ("ml.g5.48xlarge", 20.36, [])
    assert "Next instance type: ml.g5.48xlarge" in run.status.events[-1].message


def test_a_base_model_without_capacity_follows_the_tuned_one_to_the_next_type(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = with_fallback(memory)
    first = run.plan.endpoint.instance_type
    look = {"run_id": RUN_ID, "variant": "base", "instance_type": first}
    cloud.sagemaker.add_endpoint(f"{LIVE}-base", f"{LIVE}-base", status="Failed")["FailureReason"] = NO_CAPACITY
    cloud.sagemaker.add_endpoint(status="Creating")
    assert invoke(describe_endpoint, **look)["outcome"] == "in_progress"  # the tuned one may still move
    assert run.plan.endpoint.instance_type == first
    run.save_plan(run.plan.model_copy(update={"endpoint": run.plan.endpoint.on(NEXT)}))
    assert invoke(describe_endpoint, **look)["outcome"] == "retry_elsewhere"


def test_a_base_model_without_capacity_ends_its_comparison_once_the_tuned_one_serves(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = with_fallback(memory)
    cloud.sagemaker.add_endpoint(f"{LIVE}-base", f"{LIVE}-base", status="Failed")["FailureReason"] = NO_CAPACITY
    cloud.sagemaker.add_endpoint()
    with pytest.raises(EndpointFailed) as failed:
        invoke(describe_endpoint, run_id=RUN_ID, variant="base", instance_type=run.plan.endpoint.instance_type)
    assert failed.value.code == Code.ENDPOINT_NO_CAPACITY


def test_a_base_model_that_serves_on_the_first_type_stays_there(cloud: FakeAws, memory: MemoryStore) -> None:
    run = with_fallback(memory)
    first = run.plan.endpoint.instance_type
    run.save_plan(run.plan.model_copy(update={"endpoint": run.plan.endpoint.on(NEXT)}))
    cloud.sagemaker.add_endpoint(f"{LIVE}-base", f"{LIVE}-base")
    result = invoke(describe_endpoint, run_id=RUN_ID, variant="base", instance_type=first)
    assert result["outcome"] == "in_service"


def test_without_capacity_on_the_last_type_the_run_fails_with_its_own_code(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(status="Failed")["FailureReason"] = NO_CAPACITY
    with pytest.raises(EndpointFailed) as failure:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failure.value.code == Code.ENDPOINT_NO_CAPACITY
    assert "--instance-type" in failure.value.fix


def test_an_update_without_capacity_leaves_the_earlier_model_in_order_and_tries_the_next_type(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = with_fallback(memory)
    older = f"{PREFIX}-older-00000000"
    any_run(memory, "older-00000000")
    live = cloud.sagemaker.add_endpoint(config=older)
    live["FailureReason"] = f"The update was rolled back: {NO_CAPACITY}"
    result = invoke(describe_endpoint, run_id=RUN_ID, variant="live", instance_type=run.plan.endpoint.instance_type)
    assert result["outcome"] == "retry_elsewhere"
    assert cloud["cloudwatch"].requests("put_metric_alarm"), "the alarms are those of the model that serves"


def test_an_update_that_does_not_show_yet_is_no_rollback(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    cloud.sagemaker.add_endpoint(config=f"{PREFIX}-older-00000000")
    run.record("", deployment_began=hours_ago(60 / 3600))
    assert invoke(describe_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "in_progress"
    run.record("", deployment_began=hours_ago(130 / 3600))
    with pytest.raises(EndpointFailed) as failure:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failure.value.code == Code.ENDPOINT_ROLLED_BACK


def test_a_rollback_with_a_reason_is_known_at_once_but_not_by_the_reason_of_an_earlier_one(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = any_run(memory)
    live = cloud.sagemaker.add_endpoint(config=f"{PREFIX}-older-00000000", hours_old=0.02)
    live["FailureReason"] = "The update was rolled back: it was not healthy"
    run.record("", deployment_began=hours_ago(0.01))
    assert invoke(describe_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "in_progress"
    live["LastModifiedTime"] = hours_ago(0.005)
    with pytest.raises(EndpointFailed) as failure:
        invoke(describe_endpoint, run_id=RUN_ID, variant="live")
    assert failure.value.code == Code.ENDPOINT_ROLLED_BACK
