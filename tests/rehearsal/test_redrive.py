"""A run whose execution somebody redrives: it runs again, says so, and its first end is no reason to clean it up."""

from typing import Any

from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import Approval
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name, invoke


def redrive(product: Product, execution_arn: str) -> None:
    product.emulator.client("stepfunctions").redrive_execution(executionArn=execution_arn)


def end_event(execution: dict[str, Any]) -> dict[str, Any]:
    """What EventBridge delivers about the end of an execution."""
    detail = {key: execution[key] for key in ("executionArn", "status", "input", "redriveCount")}
    return {"detail": detail | {"startDate": round(execution["startDate"].timestamp() * 1000)}}


def test_an_aborted_run_that_is_redriven_runs_again_and_succeeds(product: Product) -> None:
    name = any_name("redrive")
    product.emulator.inject("function-dies", f"{name} FinishDataset", times=3)
    product.emulator.inject("job-hangs", name)
    run_id = product.submit(b"".join(any_chats()), name=name)
    execution_arn = product.until_started(run_id)
    product.until(run_id, lambda _: any(name in fault["match"] for fault in product.emulator.happened()))
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution_arn)
    aborted = product.ended(run_id)
    assert (aborted["state"], aborted["error"]["code"]) == ("aborted", "RUN_ABORTED")
    (first_end,) = product.executions_of(run_id)
    product.emulator.clear_faults(f"{name} FinishDataset")
    redrive(product, execution_arn)
    product.until(run_id, lambda _: "InProgress" in product.jobs_of(run_id).values())
    status = product.status(run_id)
    assert (status["state"], status["error"]) == ("running", None)
    assert "The execution was redriven: the run continues" in [event["message"] for event in status["events"]]
    late = invoke(product.emulator, product.function("clean_up_run"), end_event(first_end))
    assert late == {"done": []}
    assert "InProgress" in product.jobs_of(run_id).values()
    product.emulator.clear_faults(name)
    succeeded = product.ended(run_id)
    assert (succeeded["state"], succeeded["error"]) == ("succeeded", None)
    assert list(product.jobs_of(run_id).values()) == ["Completed"]


def test_a_redriven_run_whose_job_was_stopped_says_so(product: Product) -> None:
    run_id = product.submit_training()
    execution_arn = product.until_started(run_id)
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution_arn)
    assert product.ended(run_id)["state"] == "aborted"
    redrive(product, execution_arn)
    status = product.until(run_id, lambda status: status["state"] == "failed")
    assert status["error"]["code"] == "TRAINING_STOPPED"
    assert "finetune submit --again" in status["error"]["fix"]


def test_a_run_that_was_aborted_while_its_approval_was_awaited_asks_again(product: Product) -> None:
    run_id = product.submit(b"".join(any_chats()), approval=True, endpoint={"deploy": True}, evaluation={"prompts": 1})
    execution_arn = product.until_started(run_id)
    asked = product.until(run_id, lambda status: status.get("step") == "ApproveDeployment", seconds=180)
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution_arn)
    assert product.ended(run_id)["state"] == "aborted"
    token = approval_token(product, run_id)
    redrive(product, execution_arn)
    again = product.until(
        run_id, lambda status: status["state"] == "running" and approval_token(product, run_id) != token
    )
    assert again["step"] == asked["step"]
    rejection = FineTuningError(Code.APPROVAL_REJECTED, "The answers are not good enough.", "Train longer.")
    product.emulator.client("stepfunctions").send_task_failure(
        taskToken=approval_token(product, run_id), error=rejection.code, cause=str(rejection)
    )
    failed = product.until(run_id, lambda status: status["state"] == "failed")
    assert failed["error"]["code"] == "APPROVAL_REJECTED"


def approval_token(product: Product, run_id: str) -> str:
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).approval)["Body"]
    return Approval.model_validate_json(body.read()).task_token
