"""An endpoint's whole life in the deployed product, each part with its end and with what still costs money."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.target import VARIANT
from finetuning.runs.guardrails import alarm_names
from finetuning.runs.layout import RunLayout
from finetuning.runs.tags import RUN_TAG, TTL_TAG
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import is_rolled_back, roll_back
from finetuning_cli.stage.runs import list_runs, redeploy
from tests.rehearsal.support.product import QUICK, SCALING, Product, any_chats
from tests.rehearsal.support.stacks import any_name, invoke

CHATS = b"".join(any_chats())


@pytest.fixture(scope="module")
def name() -> str:
    """Of the endpoint whose life this is, without the stage's prefix."""
    return any_name("life")


@pytest.fixture(scope="module")
def first(product: Product, name: str) -> dict[str, Any]:
    """status.json of the run that deployed the endpoint, scaled and with its calls captured."""
    return product.ended(product.submit(CHATS, **QUICK, **serving(name, autoscaling=SCALING, data_capture=True)))


@pytest.fixture(scope="module")
def gated(product: Product) -> str:
    """A run whose model must beat the base model; it goes on beside the others."""
    evaluation = {"prompts": 2, "must_beat_base": True}
    return product.submit(CHATS, **QUICK, endpoint={"deploy": True}, evaluation=evaluation)


@pytest.fixture(scope="module")
def second(product: Product, first: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """status.json of a later run of that name, and what a client was answered that never stopped asking meanwhile."""
    with asking(product, first["endpoint"]) as answers:
        status = product.ended(product.submit(CHATS, **QUICK, **serving(name)))
    return status, answers


def serving(name: str, **endpoint: Any) -> dict[str, Any]:
    """The settings of a run whose endpoint has that name."""
    return {"endpoint": {"deploy": True, "name": name, **endpoint}, "evaluation": {"prompts": 1}}


@contextmanager
def asking(product: Product, endpoint: str) -> Iterator[list[str]]:
    """Calls the endpoint every 100 ms until left; yields what came of each call: "answered", or the error."""
    came: list[str] = []
    enough = threading.Event()
    runtime = product.emulator.client("sagemaker-runtime", attempts=1)

    def ask() -> None:
        body = json.dumps({"inputs": "Ahoy", "parameters": {"max_new_tokens": 1}})
        while not enough.wait(0.1):
            try:
                runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)["Body"].read()
                came.append("answered")
            except Exception as error:  # noqa: BLE001 — whatever it is, the client was not served
                came.append(repr(error))

    client_of_it = threading.Thread(target=ask)
    client_of_it.start()
    try:
        yield came
    finally:
        enough.set()
        client_of_it.join()


def described(product: Product, endpoint: str) -> dict[str, Any]:
    answer: dict[str, Any] = product.emulator.client("sagemaker").describe_endpoint(EndpointName=endpoint)
    return answer


def deployed_again(product: Product, command: Deployment, run_id: str, **terms: float) -> dict[str, Any]:
    """status.json once the run's model has been deployed once more, or that has failed."""
    execution = redeploy(command, command.run(run_id), **terms)
    product.until(run_id, lambda status: status["execution_arn"] == execution)
    return product.ended(run_id)


def config_of(run_id: str) -> str:
    return f"finetune-dev-{run_id}"


def configs(product: Product) -> set[str]:
    listed = product.emulator.client("sagemaker").list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
    return {config["EndpointConfigName"] for config in listed}


def watched_configs(product: Product, endpoint: str) -> set[str | None]:
    """The configurations that the endpoint's alarms watch; None for the endpoint as a whole."""
    found = product.emulator.client("cloudwatch").describe_alarms(AlarmNames=alarm_names(endpoint))["MetricAlarms"]
    assert len(found) in (0, len(alarm_names(endpoint)))
    return {
        {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}.get("EndpointConfigName")
        for alarm in found
    }


def tags(product: Product, endpoint: str) -> dict[str, str]:
    arn = described(product, endpoint)["EndpointArn"]
    listed = product.emulator.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]
    return {tag["Key"]: tag["Value"] for tag in listed}


def costing(product: Product, *run_ids: str) -> list[str]:
    """What of these runs costs money now, by name."""
    return [thing["name"] for thing in product.emulator.costing() if thing["owner"] in run_ids]


def limits(product: Product, endpoint: str) -> list[tuple[int, int]]:
    """What the endpoint's autoscaling may do; empty where it is not scaled."""
    found = product.emulator.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[f"endpoint/{endpoint}/variant/{VARIANT}"]
    )
    return [(target["MinCapacity"], target["MaxCapacity"]) for target in found["ScalableTargets"]]


def test_a_first_deployment_serves_and_is_watched(product: Product, gated: str, first: dict[str, Any]) -> None:
    assert first["state"] == "succeeded", first["error"]
    assert described(product, first["endpoint"])["EndpointConfigName"] == config_of(first["run_id"])
    assert watched_configs(product, first["endpoint"]) == {None}
    assert costing(product, first["run_id"]) == [first["endpoint"]]


def test_a_first_deployment_is_scaled_and_keeps_its_calls(product: Product, first: dict[str, Any]) -> None:
    assert limits(product, first["endpoint"]) == [(1, 2)]
    prefix = f"{RunLayout(first['run_id']).capture}{first['endpoint']}/{VARIANT}/"
    kept = product.emulator.client("s3").list_objects_v2(Bucket=product.artifacts, Prefix=prefix)
    assert kept["KeyCount"] >= 1  # the evaluation's own call


def test_an_update_never_fails_a_call(
    product: Product, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    status, answers = second
    assert status["state"] == "succeeded", status["error"]
    assert described(product, first["endpoint"])["EndpointConfigName"] == config_of(status["run_id"])
    assert set(answers) == {"answered"}


def test_an_update_is_watched_by_its_own_fleet_and_pays_for_one(
    product: Product, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    run_id = second[0]["run_id"]
    assert watched_configs(product, first["endpoint"]) == {config_of(run_id)}
    assert tags(product, first["endpoint"])[RUN_TAG] == run_id
    assert limits(product, first["endpoint"]) == []  # the second run asked for none
    assert costing(product, first["run_id"], run_id) == [first["endpoint"]]


def test_both_models_are_versions_in_the_endpoint_s_group(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    sagemaker = product.emulator.client("sagemaker")
    listed = sagemaker.list_model_packages(ModelPackageGroupName=first["endpoint"])["ModelPackageSummaryList"]
    assert [package["ModelPackageVersion"] for package in listed] == [2, 1]
    package = sagemaker.describe_model_package(ModelPackageName=first["model_package"])
    properties = package["CustomerMetadataProperties"]
    assert properties["run-id"] == first["run_id"]
    trained = product.emulator.client("s3").get_object(
        Bucket=product.artifacts, Key=RunLayout(first["run_id"]).train + "data.jsonl"
    )
    assert properties["sha256:data.jsonl"] == hashlib.sha256(trained["Body"].read()).hexdigest()
    assert package["ModelApprovalStatus"] == "Approved"
    registered = {status.run_id: status.model_package for status in list_runs(command)}
    assert registered[second[0]["run_id"]] == listed[0]["ModelPackageArn"]


def test_a_rollback_by_hand_puts_the_earlier_model_back_without_a_gap(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    endpoint, earlier = first["endpoint"], config_of(first["run_id"])
    product.emulator.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=endpoint,
        DesiredWeightsAndCapacities=[{"VariantName": VARIANT, "DesiredInstanceCount": 2}],
    )
    with asking(product, endpoint) as answers:
        assert roll_back(command, endpoint) == earlier
        product.until(first["run_id"], lambda _: is_rolled_back(command, endpoint, earlier))
    assert set(answers) == {"answered"}
    assert described(product, endpoint)["EndpointConfigName"] == earlier
    assert tags(product, endpoint)[RUN_TAG] == first["run_id"]
    assert watched_configs(product, endpoint) == {earlier}
    assert limits(product, endpoint) == [(1, 2)]
    (fleet,) = described(product, endpoint)["ProductionVariants"]
    assert fleet["CurrentInstanceCount"] == 2  # it follows its traffic: what it grew to serves on
    assert costing(product, first["run_id"], second[0]["run_id"]) == [endpoint]
    with pytest.raises(FineTuningError) as refused:
        roll_back(command, endpoint)
    assert refused.value.code == Code.NOTHING_TO_ROLL_BACK_TO


def test_a_rolled_back_update_is_a_failure_that_leaves_the_earlier_model_live(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    endpoint, before = first["endpoint"], described(product, first["endpoint"])["EndpointConfigName"]
    product.emulator.inject("rollback", match=endpoint)
    status = deployed_again(product, command, second[0]["run_id"])
    assert status["error"]["code"] == "ENDPOINT_ROLLED_BACK"
    assert before in status["error"]["message"]
    assert "finetune deploy" in status["error"]["fix"]
    assert described(product, endpoint)["EndpointConfigName"] == before
    assert watched_configs(product, endpoint) == {before}
    assert config_of(tags(product, endpoint)[RUN_TAG]) == before
    assert limits(product, endpoint) == [(1, 2)]
    assert costing(product, first["run_id"], second[0]["run_id"], status["run_id"]) == [endpoint]


def test_a_kept_model_is_deployed_once_more_without_training(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    run_id = second[0]["run_id"]
    jobs = product.jobs_of(run_id)
    # Too often for the SDK: the step puts all back as it was, and is tried again.
    product.emulator.inject("throttling", match=f"UpdateEndpoint {first['endpoint']}", times=6)
    status = deployed_again(product, command, run_id, ttl_hours=2)
    assert status["state"] == "succeeded", status["error"]
    assert product.jobs_of(run_id) == jobs
    assert described(product, first["endpoint"])["EndpointConfigName"] == config_of(run_id)
    assert tags(product, first["endpoint"])[TTL_TAG] == "2"
    assert status["model_package"] == second[0]["model_package"]
    assert roll_back(command, first["endpoint"]) == config_of(first["run_id"])
    product.until(run_id, lambda _: is_rolled_back(command, first["endpoint"], config_of(first["run_id"])))


def test_an_update_that_keeps_the_earlier_runs_data_capture_fails_and_a_rollback_undoes_it(
    product: Product, command: Deployment
) -> None:
    name = any_name("capture")
    earlier = product.ended(product.submit(CHATS, **QUICK, **serving(name, data_capture=True)))
    endpoint, before = earlier["endpoint"], described(product, earlier["endpoint"])["DataCaptureConfig"]
    product.emulator.inject("capture-kept", match=endpoint)
    status = product.ended(product.submit(CHATS, **QUICK, **serving(name)))
    assert (status["state"], status["error"]["code"]) == ("failed", "ENDPOINT_CAPTURE_DIFFERS")
    assert status["error"]["message"] == (
        f"The endpoint {endpoint} serves the new model, but stores 100 % of the invocations in "
        f"{before['DestinationS3Uri']} instead of no invocations."
    )
    assert f"`finetune rollback {endpoint}`" in status["error"]["fix"]
    assert described(product, endpoint)["EndpointConfigName"] == config_of(status["run_id"])
    assert any(
        event["message"].startswith(f"The endpoint {endpoint} serves this run's model although the run failed")
        for event in status["events"]
    )
    assert roll_back(command, endpoint) == config_of(earlier["run_id"])
    product.until(earlier["run_id"], lambda _: is_rolled_back(command, endpoint, config_of(earlier["run_id"])))
    assert described(product, endpoint)["DataCaptureConfig"] == before
    assert costing(product, earlier["run_id"], status["run_id"]) == [endpoint]
    product.emulator.client("sagemaker").delete_endpoint(EndpointName=endpoint)


def test_a_deleted_endpoint_leaves_no_configuration_no_alarm_and_no_cost(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    """After the others: it ends the endpoint's life, as the sweeper does, whose role must be allowed all of it."""
    endpoint, runs = first["endpoint"], (first["run_id"], second[0]["run_id"])
    arn = described(product, endpoint)["EndpointArn"]
    over = [{"Key": TTL_TAG, "Value": "0"}]
    product.emulator.client("sagemaker").add_tags(ResourceArn=arn, Tags=over)
    functions = product.emulator.client("lambda").get_paginator("list_functions").paginate()
    (sweep,) = (
        f["FunctionName"] for p in functions for f in p["Functions"] if f["Handler"].endswith("sweep_endpoints.handler")
    )
    assert endpoint in invoke(product.emulator, sweep)["deleted"]
    assert watched_configs(product, endpoint) == set()
    assert not configs(product) & {config_of(run_id) for run_id in runs}
    assert costing(product, *runs) == []


def test_an_endpoint_that_does_not_come_up_is_taken_back(
    product: Product, command: Deployment, first: dict[str, Any], second: tuple[dict[str, Any], list[str]]
) -> None:
    """After the endpoint's end: this deployment would be its first."""
    product.emulator.inject("endpoint-fails", match=first["endpoint"])
    status = deployed_again(product, command, first["run_id"])
    assert status["error"]["code"] == "ENDPOINT_FAILED"
    assert costing(product, first["run_id"]) == []
    assert watched_configs(product, first["endpoint"]) == set()


def test_only_a_model_no_worse_than_the_base_model_goes_live(product: Product, gated: str) -> None:
    """Which of the two it is, the scores of the tiny model say; tests/unit/evaluation holds the judgement itself."""
    status, states = product.ended(gated), product.states_of(gated)
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(gated).evaluation)
    summary = json.loads(body["Body"].read())["summary"]
    if summary["comparison"]["outcome"] == "worse":
        assert status["error"]["code"] == "EVALUATION_BELOW_BASE"
        assert (status["endpoint"], states.count("ServeModels")) == ("", 1)
        assert costing(product, gated) == []
    else:
        assert status["state"] == "succeeded", status["error"]
        assert states.count("ServeModels") == 2
        assert costing(product, gated) == [status["endpoint"]]


def test_a_run_without_a_model_cannot_be_deployed(product: Product, command: Deployment) -> None:
    run_id = product.submit(CHATS, accept_eula=False)
    product.ended(run_id)
    with pytest.raises(FineTuningError) as refused:
        redeploy(command, command.run(run_id))
    assert refused.value.code == Code.RUN_HAS_NO_MODEL
