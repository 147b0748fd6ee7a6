"""Every step is killed in the middle, once after each call that changes something, and tried again.

The deployed functions are called one after another as the state machine calls them, so that a step can be killed more
often than the state machine would try it again.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetuning.runs.layout import alias_key
from finetuning.runs.uploads import Upload
from finetuning_cdk.state_machine.definition import definition, functions_called
from tests.rehearsal.support.product import JUDGE, SCALING, SETTINGS, Product, any_chats, as_parquet, undisturbed
from tests.rehearsal.support.stacks import any_name, invoke

MOST_CHANGES = 30
"""More than any step makes."""
DIED = "Runtime.ExitError"
KILLED_ELSEWHERE = {"report_failure", "promote_model"}
"""The first below; the second in `test_promotion.py`, where there is another account."""
DEPLOYED = {
    "endpoint": {"deploy": True, "autoscaling": SCALING},
    "evaluation": {"prompts": 1, "compare_with_base": True, "judge": JUDGE},
}


@dataclass
class ByHand:
    """A run whose steps are called by hand."""

    product: Product
    upload: dict[str, str]
    run_id: str
    functions: dict[str, str]
    killed: dict[str, int] = field(default_factory=dict)
    """Step → how often it was killed before it came to its end."""

    @classmethod
    def begin(cls, product: Product, data: bytes, file: str, **changes: Any) -> "ByHand":
        name = any_name("killed")
        product.emulator.inject("event-lost", match=f"runs/{name}/run.json")
        product.put(f"runs/{name}/{file}", data)
        upload = product.put(f"runs/{name}/run.json", json.dumps(SETTINGS | changes).encode())
        pages = product.emulator.client("lambda").get_paginator("list_functions").paginate()
        functions = {f["Handler"].split(".")[-2]: f["FunctionName"] for page in pages for f in page["Functions"]}
        event = {"bucket": upload.bucket, "key": upload.key, "version_id": upload.version_id}
        return cls(product, event, upload.run_id, functions)

    @property
    def execution_arn(self) -> str:
        return f"{self.product.state_machine.replace(':stateMachine:', ':execution:')}:{self.run_id}"

    def step(self, handler: str, **payload: Any) -> dict[str, Any]:
        """Calls the step as the state machine does; one that dies is tried again."""
        answer = {"errorType": DIED}
        while answer.get("errorType") == DIED:
            answer = invoke(self.product.emulator, self.functions[handler], payload)
        assert "errorType" not in answer, answer
        return answer

    def killed_step(self, handler: str, **payload: Any) -> dict[str, Any]:
        """Kills the step after its first change, the next try after its second, and so on until it gets to its end."""
        emulator, function = self.product.emulator, self.functions[handler]
        for change in range(MOST_CHANGES):
            emulator.inject("function-killed", match=function, after=change)
            answer: dict[str, Any] = invoke(emulator, function, payload)
            emulator.clear_faults(function)
            if answer.get("errorType") != DIED:
                assert "errorType" not in answer, answer
                self.killed[handler] = change
                return answer
        raise AssertionError(f"{handler} was killed {MOST_CHANGES} times, and never came to its end")

    def until(self, handler: str, outcome: str, **payload: Any) -> None:
        """Looks, killed the first time, until the step's outcome is this."""
        look, deadline = self.killed_step, time.monotonic() + 180
        while look(handler, run_id=self.run_id, **payload)["outcome"] != outcome:
            assert time.monotonic() < deadline
            look = self.step
            time.sleep(1)

    def train(self, step: Callable[..., dict[str, Any]]) -> str:
        """From the upload to a training job; returns the job's name."""
        run = {"run_id": self.run_id}
        if step("plan_run", **self.upload, execution_arn=self.execution_arn, redeploy=None)["parquet"]:
            step("reframe_parquet", **run)
        for shard in step("plan_shards", **run)["shards"]:
            step("prepare_shard", **run, shard=shard)
        step("finish_dataset", **run)
        turn = {"execution_arn": self.execution_arn, "state_machine_arn": self.product.state_machine}
        step("take_turn", **run, **turn, started_at=datetime.now(UTC).isoformat())
        return str(step("start_training", **run, attempt=0)["job_name"])


@pytest.fixture(scope="module")
def killed(product: Product) -> Iterator[ByHand]:
    """A run that succeeded although each of its steps was killed wherever it matters."""
    run = ByHand.begin(product, as_parquet(any_chats()), "chats.parquet", **DEPLOYED)
    job = run.train(run.killed_step)
    run.until("describe_training", "completed", job_name=job, attempt=0)
    run.killed_step("approve_deployment", run_id=run.run_id, task_token="token")
    for variant in ("live", "base"):
        run.killed_step("deploy_endpoint", run_id=run.run_id, variant=variant)
        run.until("describe_endpoint", "in_service", variant=variant)
        run.killed_step("ask_batch", run_id=run.run_id, variant=variant, batch=0)
    run.killed_step("judge_batch", run_id=run.run_id, batch=0)
    run.killed_step("delete_temporary_endpoint", run_id=run.run_id, variant="base", failure=None)
    for handler in ("evaluate_answers", "scale_endpoint", "register_model", "report_success"):
        run.killed_step(handler, run_id=run.run_id)
    yield run
    product.emulator.client("sagemaker").delete_endpoint(EndpointName=product.status(run.run_id)["endpoint"])


@pytest.fixture(scope="module")
def imported(product: Product) -> Iterator[ByHand]:
    """A run whose model is imported into Bedrock by steps that were killed wherever it matters."""
    endpoint = {"deploy": True, "target": "bedrock"}
    run = ByHand.begin(product, b"".join(any_chats()), "chats.jsonl", endpoint=endpoint, evaluation={"prompts": 1})
    job = run.train(run.step)
    run.until("describe_training", "completed", job_name=job, attempt=0)
    run.killed_step("import_model", run_id=run.run_id, variant="live")
    run.until("describe_import", "in_service", variant="live")
    run.step("ask_batch", run_id=run.run_id, variant="live", batch=0)
    run.step("evaluate_answers", run_id=run.run_id)
    run.killed_step("switch_alias", run_id=run.run_id)
    for handler in ("register_model", "report_success"):
        run.step(handler, run_id=run.run_id)
    yield run
    arn = product.status(run.run_id)["imported_model"]
    product.emulator.client("bedrock").delete_imported_model(modelIdentifier=arn)


@pytest.fixture
def training(product: Product) -> ByHand:
    """A run whose job goes on training."""
    run = ByHand.begin(product, b"".join(any_chats()), "chats.jsonl")
    product.emulator.inject("job-hangs", match=run.run_id)
    run.train(run.step)
    return run


def test_every_step_was_killed(killed: ByHand, imported: ByHand) -> None:
    steps = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in functions_called(definition())}
    seen = [handler for run in (killed, imported) for handler, times in run.killed.items() if times]
    assert set(seen) == steps - KILLED_ELSEWHERE


def test_there_is_one_import_and_the_name_stands_for_it(imported: ByHand) -> None:
    product, run_id = imported.product, imported.run_id
    status = product.status(run_id)
    assert (status["state"], status["error"]) == ("succeeded", None)
    models = product.emulator.client("bedrock").list_imported_models(nameContains=run_id)["modelSummaries"]
    assert [model["modelArn"] for model in models] == [status["imported_model"]]
    alias = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=alias_key(status["endpoint"]))
    assert json.loads(alias["Body"].read())["serving"]["arn"] == status["imported_model"]


def test_the_run_ends_as_if_nobody_had_disturbed_it(killed: ByHand) -> None:
    status = killed.product.status(killed.run_id)
    assert (status["state"], status["error"]) == ("succeeded", None)


def test_there_is_one_job_and_one_endpoint_and_each_has_its_name(killed: ByHand) -> None:
    api, run_id = killed.product.emulator.client("sagemaker"), killed.run_id
    name = f"finetune-dev-{run_id}"
    assert killed.product.jobs_of(run_id) == {name: "Completed"}
    assert [thing["EndpointName"] for thing in api.list_endpoints(NameContains=run_id)["Endpoints"]] == [name]
    assert [thing["ModelName"] for thing in api.list_models(NameContains=run_id)["Models"]] == [name]
    packages = api.list_model_packages(
        ModelPackageGroupName=killed.product.status(run_id)["model_package"].split("/")[-2]
    )
    assert len(packages["ModelPackageSummaryList"]) == 1


def test_the_training_bytes_are_those_of_an_undisturbed_preparation(killed: ByHand, tmp_path: Path) -> None:
    assert killed.product.channels(killed.run_id) == undisturbed(as_parquet(any_chats()), tmp_path, "chats.parquet")


def test_a_failure_is_reported_and_the_job_stopped_although_the_report_is_killed(training: ByHand) -> None:
    training.killed_step(
        "report_failure",
        **training.upload,
        execution_arn=training.execution_arn,
        state="DescribeTraining",
        error={"Error": "Defect", "Cause": "{}"},
    )
    assert end_of(training, "report_failure") == ("failed", "INTERNAL_ERROR", {"Stopped"})


def test_an_aborted_run_is_cleaned_up_although_the_clean_up_is_killed(training: ByHand) -> None:
    given, began = json.dumps(Upload(**training.upload).event), round(time.time() * 1000)
    detail = {"executionArn": training.execution_arn, "status": "ABORTED", "input": given, "startDate": began}
    training.killed_step("clean_up_run", detail=detail)
    assert end_of(training, "clean_up_run") == ("aborted", "RUN_ABORTED", {"Stopped"})


def end_of(run: ByHand, handler: str) -> tuple[str, str, set[str]]:
    """State, error and the jobs' status of a run, once no job runs any more; its last step was killed, too."""
    assert run.killed[handler] > 1
    status = run.product.until(
        run.run_id, lambda _: not {"InProgress", "Stopping"} & {*run.product.jobs_of(run.run_id).values()}
    )
    return status["state"], status["error"]["code"], {*run.product.jobs_of(run.run_id).values()}
