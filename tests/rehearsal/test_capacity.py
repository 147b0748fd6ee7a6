"""Capacity and quota on the emulated AWS: a run ends with its model wherever AWS still allows it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from finetuning.runs.layout import RunLayout
from finetuning.runs.names import hosting_suffix
from finetuning.runs.plan import RunPlan
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

CHATS = b"".join(any_chats())
FIRST, SECOND, APART = "ml.g5.12xlarge", "ml.g5.24xlarge", "ml.p3dn.24xlarge"
NO_WAIT = {"capacity_wait_hours": 0}
ONE_TYPE = {"instance_type": FIRST, "fallback_instance_types": [], **NO_WAIT}

DEPLOYED = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 1, "compare_with_base": False}}


@pytest.fixture(autouse=True)
def no_endpoints_left(product: Product) -> Iterator[None]:
    """The account has only so many instances for endpoints."""
    yield
    product.emulator.clear_faults()
    sagemaker = product.emulator.client("sagemaker")
    for endpoint in sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])


def run_with(product: Product, *faults: tuple[str, str, int], **run_json: Any) -> dict[str, Any]:
    """The status of a run as it ended; each fault is for this run: what, where, how often."""
    name = any_name("capacity")
    for fault, where, times in faults:
        product.emulator.inject(fault, f"{name} {where}".strip(), times=times)
    return product.ended(product.submit(CHATS, name=name, **run_json), seconds=120)


def code_of(status: dict[str, Any]) -> str:
    return str((status["error"] or {"code": ""})["code"])


def costing(product: Product, status: dict[str, Any]) -> list[dict[str, Any]]:
    return [thing for thing in product.emulator.costing() if thing["owner"] == status["run_id"]]


@pytest.mark.parametrize("fault", ["pending", "pending-ends"])
def test_a_job_that_never_begins_is_given_up_for_the_next_type(product: Product, fault: str) -> None:
    training = {"instance_type": FIRST, "fallback_instance_types": [APART], **NO_WAIT}
    status = run_with(product, (fault, FIRST, 1), training=training)
    assert status["state"] == "succeeded", status["error"]
    assert [(rung["instance_type"], rung["outcome"]) for rung in status["ladder"]] == [
        (FIRST, "no_capacity"),
        (APART, "completed"),
    ]


def test_a_run_fails_when_its_only_job_never_begins(product: Product) -> None:
    status = run_with(product, ("pending", FIRST, 1), training=ONE_TYPE)
    assert code_of(status) == "TRAINING_NO_CAPACITY"
    assert status["cost"]["actual_usd"] in (None, 0)
    assert costing(product, status) == []


def test_every_wording_of_missing_capacity_leads_to_the_next_type(product: Product) -> None:
    training = {"instance_type": FIRST, "fallback_instance_types": [APART], "capacity_wait_hours": 1}
    status = run_with(product, ("capacity", "", 4), training=training)
    assert status["state"] == "succeeded", status["error"]
    assert [rung["outcome"] for rung in status["ladder"]] == ["no_capacity"] * 4 + ["completed"]


def test_types_of_one_request_are_one_job_that_is_priced_by_the_type_it_got(product: Product) -> None:
    training = {"instance_type": FIRST, "fallback_instance_types": [SECOND, APART], **NO_WAIT}
    status = run_with(product, ("capacity", FIRST, 1), training=training)
    assert status["state"] == "succeeded", status["error"]
    assert [(rung["instance_type"], rung["outcome"]) for rung in status["ladder"]] == [(SECOND, "completed")]
    s3, key = product.emulator.client("s3"), RunLayout(status["run_id"]).plan
    plan = RunPlan.model_validate_json(s3.get_object(Bucket=product.artifacts, Key=key)["Body"].read())
    first, second, _ = plan.training.options
    assert status["cost"]["estimate_usd"] == second.estimate.usd != first.estimate.usd


def test_an_endpoint_without_capacity_is_deployed_on_the_next_type(product: Product) -> None:
    endpoint = {"deploy": True, "instance_type": "ml.g5.4xlarge", "fallback_instance_types": ["ml.g5.12xlarge"]}
    status = run_with(product, ("endpoint-no-capacity", "ml.g5.4xlarge", 1), **DEPLOYED | {"endpoint": endpoint})
    assert status["state"] == "succeeded", status["error"]
    (made,) = costing(product, status)
    assert (made["status"], made["instance_type"]) == ("InService", "ml.g5.12xlarge")


def test_an_endpoint_without_capacity_anywhere_has_a_code_of_its_own(product: Product) -> None:
    status = run_with(product, ("endpoint-no-capacity", "", 9), **DEPLOYED)
    assert code_of(status) == "ENDPOINT_NO_CAPACITY"
    assert "finetune deploy" in status["error"]["fix"]
    assert costing(product, status) == []


def test_the_live_endpoint_waits_until_the_temporary_ones_are_gone(product: Product) -> None:
    gated = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 1, "must_beat_base": True}}
    status = run_with(product, ("deleting-counts", "-candidate", 1), ("deleting-counts", "-base", 1), **gated)
    assert status["state"] == "succeeded", status["error"]
    assert any(event["message"].startswith("Waiting for the deletion of") for event in status["events"])


def test_a_run_is_deployed_again_on_the_type_asked_for(product: Product) -> None:
    status = product.ended(product.submit(CHATS, **DEPLOYED))
    (execution,) = product.executions_of(status["run_id"])
    event = json.loads(product.execution_ended(execution)["input"]) | {"redeploy": {"instance_type": "ml.g5.12xlarge"}}
    product.emulator.client("stepfunctions").start_execution(
        stateMachineArn=execution["stateMachineArn"], input=json.dumps(event)
    )
    product.until(status["run_id"], lambda now: bool(now.get("redeployed_at")) and now["state"] == "succeeded")
    (made,) = costing(product, status)
    assert (made["status"], made["instance_type"]) == ("InService", "ml.g5.12xlarge"), "on the type asked for"


def test_two_runs_for_one_endpoint_are_both_live_in_the_order_in_which_they_come(product: Product) -> None:
    name, run_json = any_name("shared"), {**DEPLOYED}
    run_json["endpoint"] = {"deploy": True, "name": name}
    product.emulator.inject("endpoint-hangs", f"finetune-dev-{name}")
    first = product.submit(CHATS, name=any_name("capacity"), **run_json)
    product.until(first, lambda now: now.get("step") == "DescribeEndpoint")
    second = product.submit(CHATS, name=any_name("capacity"), **run_json)
    waiting = product.until(second, lambda now: now.get("progress", "").startswith("Waiting for"))
    assert first in waiting["progress"]
    product.emulator.clear_faults(f"finetune-dev-{name}")
    statuses = [product.ended(run_id, seconds=180) for run_id in (first, second)]
    assert [status["state"] for status in statuses] == ["succeeded", "succeeded"], [s["error"] for s in statuses]
    served = product.emulator.client("sagemaker").describe_endpoint(EndpointName=f"finetune-dev-{name}")
    assert served["EndpointConfigName"] == f"finetune-dev-{second}"


def test_an_update_that_does_not_show_at_once_is_no_rollback(product: Product) -> None:
    name = any_name("late")
    for _ in range(2):
        run_json = DEPLOYED | {"endpoint": {"deploy": True, "name": name}}
        product.emulator.inject("update-late", f"finetune-dev-{name}")
        status = product.ended(product.submit(CHATS, name=any_name("capacity"), **run_json), seconds=120)
        assert status["state"] == "succeeded", status["error"]


ON_P4D = {"instance_type": "ml.p4d.24xlarge", "fallback_instance_types": [], **NO_WAIT}
LARGE = {"model": "meta-textgeneration-llama-3-1-70b", "endpoint": {"deploy": False}}


def plan_arn(name: str) -> dict[str, str]:
    return {"training_plan_arn": f"arn:aws:sagemaker:us-east-1:000000000000:training-plan/finetune-dev-{name}"}


@pytest.mark.parametrize("name", ["over", "nearly-over", "missing"])
def test_a_training_plan_that_cannot_be_used_is_refused_before_anything_starts(product: Product, name: str) -> None:
    status = run_with(product, training=ON_P4D | plan_arn(name), **LARGE)
    assert (status["state"], code_of(status)) == ("failed", "RUN_REFUSED")
    assert [check["code"] for check in status["checks"] if check["ok"] is False] == ["TRAINING_PLAN_UNUSABLE"]
    assert not status["training_job"]


def test_a_training_uses_the_plan_that_was_bought(product: Product) -> None:
    status = run_with(product, training=ON_P4D | plan_arn("bought"), **LARGE)
    assert status["state"] == "succeeded", status["error"]
    sagemaker = product.emulator.client("sagemaker")
    job = sagemaker.describe_training_job(TrainingJobName=status["training_job"])
    assert job["ResourceConfig"]["TrainingPlanArn"].endswith("training-plan/finetune-dev-bought")


@pytest.fixture
def with_pools(product: Product) -> Iterator[None]:
    """The stage plans endpoints with instance pools."""
    api, name = product.emulator.client("lambda"), product.function("plan_run")
    before = api.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    for pools in ("true", "false"):
        variables = before | {"ENDPOINT_INSTANCE_POOLS": pools}
        api.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        if pools == "true":
            yield


def test_an_endpoint_of_several_pools_is_priced_by_the_type_it_got(product: Product, with_pools: None) -> None:
    endpoint = {"deploy": True, "instance_type": "ml.g5.4xlarge", "fallback_instance_types": ["ml.g5.12xlarge"]}
    status = run_with(product, ("endpoint-no-capacity", "ml.g5.4xlarge", 1), **DEPLOYED | {"endpoint": endpoint})
    assert status["state"] == "succeeded", status["error"]
    config = product.emulator.client("sagemaker").describe_endpoint_config(EndpointConfigName=status["endpoint"])
    (variant,) = config["ProductionVariants"]
    other_model = f"{variant['ModelName']}{hosting_suffix('ml.g5.12xlarge')}"
    assert variant["InstancePools"] == [
        {"InstanceType": "ml.g5.4xlarge", "Priority": 1},
        {"InstanceType": "ml.g5.12xlarge", "Priority": 2, "ModelNameOverride": other_model},
    ]
    (made,) = costing(product, status)
    assert (made["status"], made["instance_type"]) == ("InService", "ml.g5.12xlarge")
    s3, key = product.emulator.client("s3"), RunLayout(status["run_id"]).plan
    plan = RunPlan.model_validate_json(s3.get_object(Bucket=product.artifacts, Key=key)["Body"].read()).endpoint
    small, large = plan.pools
    assert (plan.usd_per_hour, plan.serving_types) == (large.usd_per_hour, ["ml.g5.12xlarge"])
    assert small.usd_per_hour < large.usd_per_hour
