"""What went wrong, read back from a Catch."""

import json

import pytest

from finetuning.errors import Code, DatasetRefused, Finding, RunRefused
from finetuning.runs.failures import read_failure

DEPLOY = "finetune deploy pirate-0a1b2c3d --stage prod"


def caught(error: Exception) -> dict[str, str]:
    """What Step Functions hands to a Catch when a Python function raises."""
    cause = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}
    return {"Error": type(error).__name__, "Cause": json.dumps(cause)}


def test_a_typed_failure_keeps_its_code_message_and_fix() -> None:
    failure = read_failure("FinishDataset", caught(DatasetRefused("line 7 is not JSON", "Fix it.")), DEPLOY)
    assert failure == {"code": Code.DATASET_REFUSED, "message": "line 7 is not JSON", "fix": "Fix it."}


def test_a_refusal_keeps_all_its_findings() -> None:
    findings = [Finding("EULA", "accept_eula", "not accepted", "accept"), Finding("TASK", "task", "planned", "chat")]
    failure = read_failure("PlanRun", caught(RunRefused(findings)), DEPLOY)
    assert [finding["code"] for finding in failure["findings"]] == ["EULA", "TASK"]


def test_an_untyped_error_keeps_its_text() -> None:
    failure = read_failure("StartTraining", caught(KeyError("dialog")), DEPLOY)
    assert failure["code"] == Code.INTERNAL_ERROR
    assert "KeyError: 'dialog'" in failure["message"]


def test_a_step_that_timed_out_is_not_an_internal_error() -> None:
    cause = json.dumps({"errorMessage": "2026-01-01 Task timed out after 900.00 seconds"})
    failure = read_failure("PrepareShard", {"Error": "Lambda.Unknown", "Cause": cause}, DEPLOY)
    assert failure["code"] == Code.RUN_TIMED_OUT
    assert "-c shard_bytes" in failure["fix"]


def test_a_cause_that_is_not_json_is_kept() -> None:
    assert (
        "Worker died"
        in read_failure("PrepareShard", {"Error": "States.TaskFailed", "Cause": "Worker died"}, DEPLOY)["message"]
    )


def test_a_missing_answer_does_not_suggest_to_train_again() -> None:
    failure = read_failure("ApproveDeployment", {"Error": "States.Timeout", "Cause": ""}, DEPLOY)
    assert failure["code"] == Code.APPROVAL_TIMED_OUT
    assert DEPLOY in failure["fix"]


@pytest.mark.parametrize("name", ["States.Timeout", "Sandbox.Timedout"])
def test_a_timeout_without_a_message_names_the_step_and_the_error(name: str) -> None:
    failure = read_failure("PrepareShard", {"Error": name, "Cause": ""}, DEPLOY)
    assert failure["code"] == Code.RUN_TIMED_OUT
    assert "PrepareShard" in failure["message"]
    assert failure["message"].endswith(name)


def test_only_a_timed_out_approval_was_not_answered() -> None:
    failure = read_failure("ApproveDeployment", caught(KeyError("task_token")), DEPLOY)
    assert failure["code"] == Code.INTERNAL_ERROR
    assert "nothing was deployed" in read_failure("ApproveDeployment", {"Error": "States.Timeout"}, DEPLOY)["message"]


def test_a_failure_without_a_cause_is_an_internal_error_of_its_step() -> None:
    failure = read_failure("StartTraining", {}, DEPLOY)
    assert failure["code"] == Code.INTERNAL_ERROR
    assert failure["message"].endswith("StartTraining failed unexpectedly: : no reason given")
    assert "log" in failure["fix"]


@pytest.mark.parametrize("message", ["[1]", "7", '"code message fix"', "null"])
def test_json_that_is_not_an_object_is_not_a_typed_failure(message: str) -> None:
    failure = read_failure("StartTraining", {"Error": "E", "Cause": json.dumps({"errorMessage": message})}, DEPLOY)
    assert failure["code"] == Code.INTERNAL_ERROR
    assert message in failure["message"]
