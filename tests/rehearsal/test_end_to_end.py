"""The deployed product, from an upload to its end, on the emulated AWS with the tiny model."""

import json
import re
from typing import Any

import pytest

from finetuning.runs.layout import RunLayout
from finetuning_cdk.state_machine.definition import definition
from rehearsal import running
from rehearsal.emulator.identity import ACCOUNT
from tests.rehearsal.support.product import Product, any_chats, as_parquet
from tests.rehearsal.support.stacks import any_name, invoke

DEPLOYED = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 2, "compare_with_base": True}}
CHATS = b"".join(any_chats())
ONE_TRY = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": [], "capacity_wait_hours": 0}


@pytest.fixture(scope="module")
def answered(product: Product) -> dict[str, Any]:
    """status.json of a run that went the whole way."""
    return product.ended(product.submit(CHATS, **DEPLOYED))


def test_an_upload_ends_in_an_endpoint_by_way_of_every_state(product: Product, answered: dict[str, Any]) -> None:
    assert answered["state"] == "succeeded", answered
    passed = product.states_of(answered["run_id"])
    aside = {"ReframeParquet", "AlreadyRunning", "ReportFailure", "IsEndOfRun", "SendFailureEvent", "Failed"}
    aside |= {"WaitForTurn", "WaitForCapacity", "ApproveDeployment"}  # tests/rehearsal/test_waiting.py
    aside |= {"PromoteModel", "IsPromoted"}  # tests/rehearsal/test_promotion.py
    aside |= {"JudgeAnswers"}  # tests/rehearsal/test_judge.py
    aside |= {"SwitchAlias"}  # tests/rehearsal/test_imports.py
    aside |= {"ScaleEndpoint"}  # tests/rehearsal/test_endpoints.py
    aside |= {"WaitToDeploy", "ShardKilled"}  # tests/rehearsal/test_capacity.py, test_faults.py
    assert set(definition()["States"]) - set(passed) <= aside
    assert "PrepareShard" in passed


def test_the_licence_s_acceptance_names_the_version_of_run_json_and_the_account_that_uploaded_it(
    product: Product, answered: dict[str, Any]
) -> None:
    run_id = answered["run_id"]
    stored = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).plan)
    plan = json.loads(stored["Body"].read())
    accepted = plan["accepted"]
    assert accepted["version_id"] == plan["upload"]["version_id"]
    assert accepted["requester"] == ACCOUNT
    assert re.fullmatch("[0-9A-F]{16}", accepted["request_id"])
    words = f"account {ACCOUNT} in S3 request {accepted['request_id']} with s3://{plan['upload']['bucket']}/"
    (check,) = [check for check in answered["checks"] if check["check"] == "licence"]
    assert words in check["message"]
    api = product.emulator.client("sagemaker")
    properties = api.describe_model_package(ModelPackageName=answered["model_package"])["CustomerMetadataProperties"]
    assert properties["licence-accepted-by"].startswith(words)


def test_the_held_out_loss_falls_and_its_last_value_is_in_the_status(
    product: Product, answered: dict[str, Any]
) -> None:
    log = "\n".join(product.training_log(answered["training_job"]))
    losses = [float(loss) for loss in re.findall(r"eval_epoch_loss=tensor\(([\d.]+)", log)]
    assert losses[-1] < losses[0]
    assert losses[-1] in [metric["value"] for metric in answered["metrics"] if metric["name"].endswith("eval-loss")]


def test_the_endpoint_answers_a_plain_boto3_client(product: Product, answered: dict[str, Any]) -> None:
    runtime = product.emulator.client("sagemaker-runtime")
    body = json.dumps({"inputs": "What is 3 and 3?", "parameters": {"max_new_tokens": 8}})
    said = runtime.invoke_endpoint(EndpointName=answered["endpoint"], ContentType="application/json", Body=body)
    assert "generated_text" in json.loads(said["Body"].read())


def test_the_base_model_s_endpoint_is_gone_after_the_comparison(product: Product, answered: dict[str, Any]) -> None:
    found = product.emulator.client("sagemaker").list_endpoints(NameContains=answered["run_id"])["Endpoints"]
    assert [endpoint["EndpointName"] for endpoint in found] == [answered["endpoint"]]


def test_a_sweep_counts_what_the_endpoint_costs_and_leaves_it(product: Product, answered: dict[str, Any]) -> None:
    assert answered["endpoint"] not in product.sweep()["deleted"]

    def costs() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in product.log("sweep_endpoints") if line.startswith("{")]
        return [line for line in lines if line.get("endpoint") == answered["endpoint"]]

    product.until(answered["run_id"], lambda _: costs())
    assert costs()[-1]["run_id"] == answered["run_id"]
    assert costs()[-1]["usd"] > 0


def test_the_run_leaves_its_report(product: Product, answered: dict[str, Any]) -> None:
    layout = RunLayout(answered["run_id"])
    listed = product.emulator.client("s3").list_objects_v2(Bucket=product.artifacts, Prefix=layout.root)["Contents"]
    keys = {item["Key"] for item in listed}
    assert {layout.plan, layout.dataset_report, layout.evaluation, layout.report_page, layout.status} <= keys


def test_a_file_in_the_inbox_is_a_run(product: Product) -> None:
    product.emulator.inject("capacity", times=20)  # the job need not be trained
    status = product.ended(product.put(f"inbox/{any_name('file')}.jsonl", CHATS).run_id)
    assert status["state"] == "failed"


def test_a_file_may_have_any_name(product: Product) -> None:
    """Its name is JSON's syntax, but the event's data: the run without its licence is refused, by name."""
    run_id = product.put(f'inbox/{any_name("file")} "best" \\ answers\n\U0001f980.jsonl', CHATS).run_id
    status = product.ended(run_id, 60)
    assert "answers" in status["events"][0]["message"]
    (execution,) = product.executions_of(run_id)
    assert product.execution_ended(execution)["status"] == "FAILED"


def test_a_broken_line_ends_the_run_before_training_and_is_named(product: Product) -> None:
    lines = any_chats()
    lines[6] = b'{"messages": [{"role": "user"\n'
    run_id = product.submit(b"".join(lines))
    status = product.ended(run_id)
    assert status["state"] == "failed"
    assert "line 7" in json.dumps(status["error"])
    assert product.jobs_of(run_id) == {}
    (execution,) = product.executions_of(run_id)
    assert product.execution_ended(execution)["status"] == "FAILED"


def test_without_the_licence_accepted_nothing_starts_and_the_message_says_what_to_set(product: Product) -> None:
    run_id = product.submit(CHATS, accept_eula=False)
    status = product.ended(run_id)
    assert status["state"] == "failed"
    assert "accept_eula" in json.dumps(status["error"])
    assert product.jobs_of(run_id) == {}


def test_the_same_upload_delivered_twice_is_one_run(product: Product) -> None:
    product.emulator.inject("event-duplicated", match="run.json")
    run_id = product.submit(CHATS, accept_eula=False)
    product.ended(run_id)
    ends = [product.execution_ended(execution)["status"] for execution in product.executions_of(run_id)]
    assert sorted(ends) == ["FAILED", "SUCCEEDED"]  # one owned the run and was refused, the other had nothing to do


def test_an_execution_aborted_while_training_stops_the_job(product: Product) -> None:
    run_id = product.submit_training()
    (execution,) = product.executions_of(run_id)
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])
    status = product.ended(run_id)
    assert status["state"] == "aborted"
    product.until(run_id, lambda _: set(product.jobs_of(run_id).values()) == {"Stopped"})


def test_a_job_without_capacity_is_tried_on_the_next_instance_type(product: Product) -> None:
    product.emulator.inject("capacity")
    settings = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": ["ml.p3dn.24xlarge"]}
    run_id = product.submit(CHATS, training=settings)
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    assert sorted(product.jobs_of(run_id).values()) == ["Completed", "Failed"]


def test_a_failed_job_is_explained(product: Product) -> None:
    product.emulator.inject("capacity", message="nothing left")
    run_id = product.submit(CHATS, training=ONE_TRY)
    status = product.ended(run_id)
    assert status["state"] == "failed"
    assert status["error"]["fix"]
    assert "nothing left" in json.dumps(status)


def test_throttled_calls_are_tried_again(product: Product) -> None:
    product.emulator.inject("throttling", match="CreateTrainingJob", times=2)
    product.emulator.inject("capacity")  # the job need not be trained
    run_id = product.submit(CHATS, training=ONE_TRY)
    product.ended(run_id)
    assert list(product.jobs_of(run_id).values()) == ["Failed"]


def test_a_run_whose_function_dies_is_reported_as_failed(product: Product) -> None:
    product.emulator.inject("function-dies", match="FinishDataset", times=9)
    status = product.ended(product.submit(CHATS))
    assert status["state"] == "failed"


def test_parquet_takes_its_own_step(product: Product) -> None:
    product.emulator.inject("capacity")  # the job need not be trained
    name = any_name("parquet")
    product.put(f"runs/{name}/chats.parquet", as_parquet(any_chats()))
    settings = {"accept_eula": True, "training": ONE_TRY}
    run_id = product.put(f"runs/{name}/run.json", json.dumps(settings).encode()).run_id
    product.ended(run_id)
    assert {"ReframeParquet", "StartTraining"} <= set(product.states_of(run_id))


def test_every_handler_imports_from_the_deployed_zip_with_nothing_but_the_layer(product: Product) -> None:
    functions = product.emulator.client("lambda").get_paginator("list_functions")
    deployed = [
        f for page in functions.paginate() for f in page["Functions"] if f["FunctionName"].startswith("finetune-")
    ]
    modules = {f["Handler"].removesuffix(".handler"): f for f in deployed}
    handlers = running.PROJECT / "lambda" / "finetuning" / "handlers"
    written = {f"finetuning.handlers.{path.stem}" for path in handlers.glob("*.py")}
    assert modules.keys() == written - {"finetuning.handlers.__init__", "finetuning.handlers.step"}
    parquet = modules.pop("finetuning.handlers.reframe_parquet")  # has a layer of its own
    for function, names in ((parquet, ["finetuning.handlers.reframe_parquet"]), (deployed[0], sorted(modules))):
        found = invoke(product.emulator, product.probe(function), {"modules": names})
        assert all(path.startswith(found["task_root"]) for path in found["files"].values()), found
        assert not found["task_root"].startswith(str(running.PROJECT))
