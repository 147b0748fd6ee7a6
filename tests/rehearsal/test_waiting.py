"""What a run waits for on the emulated AWS: a person's word, instances, its turn."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan, in_words
from finetuning_cli.stage.approvals import approve_run, reject_run
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.runs import stop_run
from finetuning_cli.stage.uploads import resubmit
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

CHATS = b"".join(any_chats())
ASKING = {"approval": True, "endpoint": {"deploy": True}}


def waits_for_approval(product: Product, run_id: str) -> dict[str, Any]:
    return product.until(run_id, lambda status: "finetune approve" in status.get("progress", ""))


def test_an_approved_run_deploys_and_says_who_allowed_it(product: Product, command: Deployment) -> None:
    run_id = product.submit(CHATS, **ASKING)
    waiting = waits_for_approval(product, run_id)
    assert waiting["endpoint"] == ""
    approve_run(command.run(run_id))
    ended = product.ended(run_id)
    assert (ended["state"], ended["progress"]) == ("succeeded", ""), ended["error"]
    assert "ApproveDeployment" in product.states_of(run_id)


@pytest.fixture
def one_at_a_time(product: Product) -> Iterator[None]:
    """The stage, with room for one run."""
    api = product.emulator.client("lambda")
    functions = api.get_paginator("list_functions").paginate()
    (function,) = [f for page in functions for f in page["Functions"] if "TakeTurn" in f["FunctionName"]]
    variables = function["Environment"]["Variables"]

    def set_limit(limit: str) -> None:
        environment = {"Variables": variables | {"MAX_CONCURRENT_RUNS": limit}}
        api.update_function_configuration(FunctionName=function["FunctionName"], Environment=environment)

    set_limit("1")
    yield
    set_limit(variables["MAX_CONCURRENT_RUNS"])


def test_a_rejected_run_fails_with_the_reason_keeps_its_model_and_gives_its_turn_to_the_next(
    product: Product, command: Deployment, one_at_a_time: None
) -> None:
    run_id = product.submit(CHATS, **ASKING)
    waits_for_approval(product, run_id)
    name = any_name("second")
    product.emulator.inject("capacity", match=name)  # its job need not be trained
    training = {"fallback_instance_types": [], "capacity_wait_hours": 0}
    second = product.submit(CHATS, name=name, training=training)
    waiting = product.until(second, lambda status: status.get("step") == "TakeTurn")
    assert waiting["progress"].startswith("Waiting: 1 run is ahead")
    reject_run(command, command.run(run_id), "The loss is too high.")
    ended = product.ended(run_id)
    assert product.ended(second)["error"]["code"] == "TRAINING_NO_CAPACITY"
    assert ended["error"]["code"] == "APPROVAL_REJECTED"
    assert "The loss is too high." in ended["error"]["message"]
    assert "DeployEndpoint" not in product.states_of(run_id)
    artifact = RunLayout(run_id).model_artifact(ended["training_job"])
    assert product.emulator.client("s3").list_objects_v2(Bucket=product.artifacts, Prefix=artifact)["KeyCount"] > 0


def test_without_capacity_the_model_s_other_types_are_tried_the_cheapest_first(product: Product) -> None:
    name = any_name("capacity")
    product.emulator.inject("capacity", match=name, times=2)
    run_id = product.submit(CHATS, name=name)
    ended = product.ended(run_id)
    assert ended["state"] == "succeeded", ended["error"]
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).plan)["Body"].read()
    training = RunPlan.model_validate_json(body).training
    third = training.options[2]
    # Types are preferences of one job where their runs take about as long, as measured in the runs before.
    tried = training.groups[: next(n for n, group in enumerate(training.groups, 1) if third in group)]
    ladder = [(rung["instance_type"], rung["outcome"]) for rung in ended["ladder"]]
    assert ladder[:-1] == [(in_words(group), "no_capacity") for group in tried[:-1]]
    assert ladder[-1] == (third.instance_type, "completed")
    assert ended["cost"]["estimate_usd"] == tried[-1][0].estimate.usd
    assert ended["training_job"] == ended["ladder"][-1]["job_name"]


def test_an_upload_whose_event_was_lost_is_started_by_the_sweep_and_only_once(product: Product) -> None:
    product.emulator.inject("event-lost", match="run.json")
    run_id = product.submit(CHATS, accept_eula=False)
    assert product.executions_of(run_id) == []
    assert product.sweep_runs()["started"] == [run_id]
    assert product.ended(run_id)["error"]["findings"][0]["code"] == "EULA_NOT_ACCEPTED"
    assert product.sweep_runs()["started"] == []
    assert len(product.executions_of(run_id)) == 1


def test_a_run_whose_files_somebody_deleted_is_not_trained_again(product: Product) -> None:
    product.emulator.inject("job-fails")
    run_id = product.submit(CHATS)
    assert product.ended(run_id)["state"] == "failed"
    s3, folder = product.emulator.client("s3"), RunLayout(run_id).root
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=product.artifacts, Prefix=folder):
        for item in page["Contents"]:
            s3.delete_object(Bucket=product.artifacts, Key=item["Key"])
    assert product.sweep_runs()["started"] == []


def test_what_a_failed_clean_up_left_is_finished_by_the_sweep(product: Product, command: Deployment) -> None:
    product.emulator.inject("function-dies", match="CleanUpRun", times=99)
    run_id = product.submit_training()
    assert stop_run(command.run(run_id))
    (execution,) = product.executions_of(run_id)
    assert product.execution_ended(execution)["status"] == "ABORTED"
    assert product.status(run_id)["state"] == "running"
    swept = product.sweep_runs()
    assert swept["finished"] == [run_id]
    assert product.status(run_id)["state"] == "aborted"
    product.until(run_id, lambda _: set(product.jobs_of(run_id).values()) == {"Stopped"})
    assert product.sweep_runs() == {"started": [], "finished": [], "resumed": [], "removed": []}


def test_a_job_that_outlived_its_run_is_stopped_by_the_sweep(product: Product, command: Deployment) -> None:
    """As a function leaves it that was still calling CreateTrainingJob when its execution was aborted."""
    run_id = product.submit_training()
    stop_run(command.run(run_id))
    product.ended(run_id)
    (job,) = product.jobs_of(run_id)
    sagemaker = product.emulator.client("sagemaker")
    first = sagemaker.describe_training_job(TrainingJobName=job)
    asked = sagemaker.meta.service_model.operation_model("CreateTrainingJob").input_shape.members
    tags = sagemaker.list_tags(ResourceArn=first["TrainingJobArn"])["Tags"]
    late = {name: first[name] for name in asked if name in first} | {"TrainingJobName": f"{job}-1", "Tags": tags}
    product.emulator.inject("job-hangs", match=f"{job}-1")
    sagemaker.create_training_job(**late)
    assert product.sweep_runs()["removed"] == [f"Stopped the training job {job}-1"]
    product.until(run_id, lambda _: set(product.jobs_of(run_id).values()) == {"Stopped"})


def test_a_failed_job_is_explained_from_its_log(product: Product) -> None:
    """A token-id list is nothing that PEFT finds modules by: the script's own words are in the log."""
    run_id = product.submit(CHATS, hyperparameters={"epoch": 1, "target_modules": "no_such_module"})
    ended = product.ended(run_id)
    assert ended["error"]["code"].startswith("TRAINING_"), ended["error"]
    assert "no_such_module" in "\n".join(ended["error"]["log"])
    assert ended["ladder"][0]["outcome"] == "failed"


def test_the_same_upload_again_is_a_run_of_its_own(product: Product, command: Deployment) -> None:
    first = product.submit(CHATS, accept_eula=False)
    product.ended(first)
    second = resubmit(command, command.run(first)).run_id
    assert second != first
    assert product.ended(second)["error"]["findings"][0]["code"] == "EULA_NOT_ACCEPTED"


def test_an_approval_and_a_stop_at_the_same_moment_leave_one_end_and_no_endpoint(
    product: Product, command: Deployment
) -> None:
    run_id = product.submit(CHATS, **ASKING)
    waits_for_approval(product, run_id)
    with ThreadPoolExecutor() as pool:
        approved, stopped = pool.submit(approve_run, command.run(run_id)), pool.submit(stop_run, command.run(run_id))
    assert stopped.exception() is None
    assert approved.exception() is None or "waiting" in str(approved.exception())
    ended = product.ended(run_id)
    assert ended["state"] == "aborted", ended["error"]

    def nothing_left(_: Any) -> bool:
        product.sweep_runs()
        return not [thing for thing in product.emulator.costing() if thing["owner"] == run_id]

    product.until(run_id, nothing_left, seconds=180)
    (execution,) = product.executions_of(run_id)
    assert execution["status"] == "ABORTED"
    assert product.status(run_id)["state"] == "aborted"
