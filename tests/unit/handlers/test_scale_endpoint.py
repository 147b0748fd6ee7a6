"""ScaleEndpoint: autoscaling where the plan asks for it."""

from finetuning.handlers import scale_endpoint
from finetuning.jumpstart.target import VARIANT
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

SCALED = {"min_instances": 1, "max_instances": 4, "invocations_per_instance": 60}


def test_the_live_endpoint_follows_its_traffic_within_the_plans_limits(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"name": "faq", "autoscaling": SCALED})
    result = invoke(scale_endpoint, run_id=RUN_ID)
    scaling = cloud["application-autoscaling"]
    (target,) = scaling.requests("register_scalable_target")
    (policy,) = scaling.requests("put_scaling_policy")
    assert target["ResourceId"] == policy["ResourceId"] == f"endpoint/{PREFIX}-faq/variant/{VARIANT}"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 60
    assert result["message"] == "1 to 4 instances, target 60 invocations per minute and instance"


def test_without_autoscaling_in_the_plan_nothing_is_set(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    assert invoke(scale_endpoint, run_id=RUN_ID)["message"] == ""
    assert not cloud["application-autoscaling"].calls
