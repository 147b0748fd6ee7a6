"""A name's whole life in Bedrock: two models, one after the other, a rollback, an extension, and the end."""

import json
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.operations.answers import stream_answer_of
from finetuning.runs.layout import RunLayout, alias_key
from finetuning.runs.tags import IDLE_TAG, KEPT_TAG, RUN_TAG, TTL_TAG
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import find_served
from finetuning_cli.stage.imported import extend_imported, find_serving, list_imported, roll_back_name
from finetuning_cli.stage.runs import redeploy
from tests.rehearsal.support.product import QUICK, Product, any_chats
from tests.rehearsal.support.stacks import any_name

CHATS = b"".join(any_chats())


@pytest.fixture(scope="module")
def name() -> str:
    """What stands for the models, without the stage's prefix."""
    return any_name("imported")


@pytest.fixture(scope="module")
def first(product: Product, name: str) -> dict[str, Any]:
    """status.json of the run that made the name."""
    return product.ended(product.submit(CHATS, **QUICK, **imported(name)))


@pytest.fixture(scope="module")
def second(product: Product, first: dict[str, Any], name: str) -> dict[str, Any]:
    """status.json of a later run of that name."""
    return product.ended(product.submit(CHATS, **QUICK, **imported(name)))


def imported(name: str) -> dict[str, Any]:
    return {"endpoint": {"deploy": True, "target": "bedrock", "name": name}, "evaluation": {"prompts": 1}}


def models(product: Product, *run_ids: str) -> set[str]:
    """The ARNs of the imported models of these runs."""
    return {thing["arn"] for thing in product.emulator.costing() if thing["owner"] in run_ids}


def tags(product: Product, arn: str) -> dict[str, str]:
    listed = product.emulator.client("bedrock").list_tags_for_resource(resourceARN=arn)["tags"]
    return {tag["key"]: tag["value"] for tag in listed}


def test_a_first_import_answers_by_its_name(product: Product, command: Deployment, first: dict[str, Any]) -> None:
    assert first["state"] == "succeeded", first["error"]
    serving = find_serving(command, first["endpoint"])
    assert serving
    assert serving.arn == first["imported_model"]
    assert models(product, first["run_id"]) == {serving.arn}
    jobs = product.emulator.client("bedrock").list_model_import_jobs
    by_status = [jobs(nameContains=first["run_id"], statusEquals=status) for status in ("Completed", "InProgress")]
    assert [len(each["modelImportJobSummaries"]) for each in by_status] == [1, 0], "an ended import takes no room"
    said: list[str] = []
    reply = stream_answer_of(serving.arn, "Ahoy", "chat", DEFAULT_FAMILY, said.append, lambda line: None, 4)
    assert "".join(said) == reply.text


def test_the_price_is_corrected_once_bedrock_says_the_units(product: Product, first: dict[str, Any]) -> None:
    plan = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(first["run_id"]).plan)
    assert json.loads(plan["Body"].read())["endpoint"]["import_price"]["units"] == 1
    assert any("not as planned" in event["message"] for event in first["events"])


def test_a_model_has_the_tags_of_its_run_and_expires_by_time_alone(product: Product, first: dict[str, Any]) -> None:
    kept = tags(product, first["imported_model"])
    assert kept[RUN_TAG] == first["run_id"]
    assert float(kept[TTL_TAG]) > 0
    assert kept.get(IDLE_TAG, "never") == "never"


def test_an_update_is_imported_beside_it_and_takes_the_name(
    product: Product, command: Deployment, first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert second["state"] == "succeeded", second["error"]
    assert second["endpoint"] == first["endpoint"]
    serving = find_serving(command, second["endpoint"])
    assert serving
    assert serving.arn == second["imported_model"] != first["imported_model"]
    assert models(product, first["run_id"]) == {first["imported_model"]}


def test_a_model_that_fails_leaves_the_name_as_it_was(
    product: Product, command: Deployment, name: str, second: dict[str, Any]
) -> None:
    product.emulator.inject("function-dies", match=f"{name} AskBatch", times=1000)
    failed = product.ended(product.submit(CHATS, name=f"{name}-fails", **QUICK, **imported(name)))
    product.emulator.clear_faults(name)
    assert failed["state"] == "failed"
    serving = find_serving(command, second["endpoint"])
    assert serving
    assert serving.arn == second["imported_model"]
    product.sweep_runs()
    assert models(product, failed["run_id"]) == set()


def test_a_rollback_returns_to_the_model_before_at_once_and_only_once(
    command: Deployment, first: dict[str, Any], second: dict[str, Any]
) -> None:
    alias = roll_back_name(command, second["endpoint"])
    assert alias.serving
    assert alias.serving.arn == first["imported_model"]
    with pytest.raises(FineTuningError) as refused:
        roll_back_name(command, second["endpoint"])
    assert refused.value.code == Code.NOTHING_TO_ROLL_BACK_TO


def test_a_model_trained_for_an_endpoint_is_imported_later_and_deployed_on_one_again(
    product: Product, command: Deployment
) -> None:
    run_id = product.submit(CHATS, **QUICK)
    assert product.ended(run_id)["imported_model"] == ""
    execution = redeploy(command, command.run(run_id), target="bedrock")
    product.until(run_id, lambda status: status["execution_arn"] == execution)
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    assert models(product, run_id) == {status["imported_model"]}
    assert find_serving(command, status["endpoint"])
    # Deployed on an endpoint again: the name no longer stands for the imported model, which the next sweep deletes.
    execution = redeploy(command, command.run(run_id), target="sagemaker")
    product.until(run_id, lambda status: status["execution_arn"] == execution)
    status = product.ended(run_id)
    assert (status["state"], status["imported_model"]) == ("succeeded", ""), status["error"]
    assert find_served(command, status["endpoint"])[2] is None
    product.sweep_runs()
    assert [arn.rpartition("/")[2] for arn in models(product, run_id)] == [status["endpoint"]]


def test_a_model_that_serves_is_kept_longer_and_deleted_when_its_time_is_over(
    product: Product, command: Deployment, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """After the others: it ends the name's life, as the sweeper does, whose role must be allowed all of it."""
    serving = find_serving(command, first["endpoint"])
    assert serving
    api, over = product.emulator.client("bedrock"), [{"key": TTL_TAG, "value": "0"}]
    for arn in models(product, first["run_id"], second["run_id"]):
        api.tag_resource(resourceARN=arn, tags=over)
    deadline = extend_imported(command, serving, 3)
    assert deadline
    assert KEPT_TAG in tags(product, serving.arn)
    assert {state.arn for state in list_imported(command)} >= {serving.arn}
    product.sweep()
    product.sweep_runs()  # it deletes the model that was rolled back
    assert models(product, first["run_id"], second["run_id"]) == {serving.arn}
    api.tag_resource(resourceARN=serving.arn, tags=[{"key": KEPT_TAG, "value": "2020-01-01T00:00:00+00:00"}])
    product.sweep()
    assert models(product, first["run_id"], second["run_id"]) == set()
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=alias_key(first["endpoint"]))
    assert json.loads(body["Body"].read())["serving"] is None
