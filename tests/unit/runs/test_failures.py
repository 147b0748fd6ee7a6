"""What went wrong, read back from a Catch."""

import json

import pytest

from finetuning.errors import Code, DatasetRefused, Finding, RunRefused
from finetuning.runs.failures import DataRead, failed_step, read_failure, shard_of

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


KILLED = "RequestId: 1 Error: Runtime exited with error: signal: killed"
LATE = "RequestId: 1 Error: Task timed out after 900.00 seconds"


def ended(name: str, message: str = "", **beside: object) -> dict[str, str]:
    """What Step Functions hands to a Catch when Lambda ended a function; `shard` beside it inside the Map."""
    cause = json.dumps({"errorType": name, "errorMessage": message})
    return {"Error": name, "Cause": json.dumps({"errorMessage": cause, **beside}) if beside else cause}


@pytest.mark.parametrize(
    ("name", "message", "code"),
    [
        ("Runtime.ExitError", KILLED, Code.STEP_OUT_OF_MEMORY),
        ("Lambda.Unknown", KILLED, Code.STEP_OUT_OF_MEMORY),
        ("Runtime.OutOfMemory", "", Code.STEP_OUT_OF_MEMORY),
        ("MemoryError", "", Code.STEP_OUT_OF_MEMORY),
        ("Sandbox.Timedout", LATE, Code.RUN_TIMED_OUT),
        ("Lambda.Unknown", LATE, Code.RUN_TIMED_OUT),
        ("States.Timeout", "", Code.RUN_TIMED_OUT),
        ("Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: exit status 1", Code.STEP_CRASHED),
        ("Lambda.Unknown", "The service returned an unknown error.", Code.STEP_CRASHED),
    ],
)
@pytest.mark.parametrize("state", ["PrepareShard", "ReframeParquet", "FinishDataset", "PlanRun", "DeployEndpoint"])
@pytest.mark.parametrize("beside", [{}, {"shard": 7}])
def test_a_function_that_was_ended_is_not_called_a_defect(
    name: str, message: str, code: Code, state: str, beside: dict[str, object]
) -> None:
    failure = read_failure(state, ended(name, message, **beside), DEPLOY, DataRead(["chat.csv"]))
    assert failure["code"] == code
    assert state in failure["message"]
    assert "chat.csv" in failure["message"]
    assert failure["message"].endswith(message or name)
    assert "defect" not in failure["fix"]


@pytest.mark.parametrize("message", [KILLED, LATE])
def test_smaller_shards_are_advised_only_for_a_file_that_is_cut(message: str) -> None:
    def fix(data: DataRead) -> str:
        return str(read_failure("PrepareShard", ended("Lambda.Unknown", message), DEPLOY, data)["fix"])

    assert "-c shard_bytes" in fix(DataRead(["chat.jsonl"], is_cut=True))
    whole = fix(DataRead(["chat.csv"]))
    assert "shard_bytes" not in whole
    assert whole.startswith("chat.csv is read in one piece")


@pytest.mark.parametrize(
    ("state", "fix"),
    [
        ("ReframeParquet", "Write a.parquet as several files with smaller row groups"),
        ("PlanRun", "Upload fewer files, or files with shorter first rows (a.parquet)"),
        ("PlanShards", "Upload fewer files, or files with shorter first rows (a.parquet)"),
        ("FinishDataset", "Upload fewer rows, or several smaller runs"),
        ("StartTraining", "Start the run again with `finetune submit --again RUN`"),
    ],
)
@pytest.mark.parametrize("message", [KILLED, LATE])
def test_a_step_that_needed_too_much_says_what_its_data_must_have_less_of(state: str, fix: str, message: str) -> None:
    failure = read_failure(state, ended("Lambda.Unknown", message), DEPLOY, DataRead(["a.parquet"]))
    assert failure["fix"].startswith(fix)


def test_without_a_known_file_the_message_names_none() -> None:
    failure = read_failure("PlanRun", ended("MemoryError"), DEPLOY)
    assert failure["message"] == "The function of the step PlanRun exceeded its memory and was killed: MemoryError"
    assert "(the data files)" in failure["fix"]


def test_the_step_that_failed_is_the_causes_or_else_the_states() -> None:
    assert failed_step("ServeModels", {"Cause": '{"step": "DeployEndpoint"}'}) == "DeployEndpoint"
    assert failed_step("PlanRun", caught(KeyError("step"))) == "PlanRun"
    assert failed_step("PlanRun", {"Error": "States.Timeout"}) == "PlanRun"
    assert failed_step("PlanRun", {"Cause": "not JSON"}) == "PlanRun"


def test_the_shard_of_a_killed_function_is_known_and_no_other() -> None:
    assert shard_of(ended("Runtime.ExitError", KILLED, shard=7)) == 7
    assert shard_of(ended("Runtime.ExitError", KILLED)) is None
    assert shard_of(caught(KeyError("shard"))) is None
    assert shard_of({"Error": "States.Timeout"}) is None
    assert shard_of({"Error": "States.Runtime", "Cause": '{"shard": "$.shard is not in the input"}'}) is None


def test_files_are_named_up_to_two_and_the_others_counted() -> None:
    names = ["a.csv", "b.csv", "c.csv", "d.csv"]
    assert [DataRead(names[:count]).in_words for count in range(5)] == [
        "",
        "a.csv",
        "a.csv and b.csv",
        "a.csv, b.csv and 1 more file",
        "a.csv, b.csv and 2 more files",
    ]


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
