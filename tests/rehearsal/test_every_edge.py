"""Every edge of the deployed state machine is walked at least once. The list of edges is made from its definition."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from finetuning.runs.failures import failed_step
from finetuning.runs.uploads import Upload
from finetuning_cdk.state_machine.definition import PUT_EVENTS, all_states, definition
from rehearsal.running import Emulator
from tests.rehearsal.support.scripted import Answers, Late, Raised, Scripted, ways
from tests.rehearsal.support.stacks import WAIT_SCALE, finished

STATES = dict(all_states(definition()))
EDGES = [way for name, state in STATES.items() for way, _, _ in ways(name, state)]
CATCHES = [(name, catcher) for name, state in STATES.items() for catcher in state.get("Catch", ())]
FIRST_STEPS = {
    "PrepareShards": "PrepareShard",
    "ServeModels": "DescribeEndpoint",
    "AskModel": "AskBatch",
    "JudgeAnswers": "JudgeBatch",
}
"""The step of each Map that fails in these walks."""
MORE_THAN_RETRIED = 10
"""Times that a function dies before its step has failed, in two iterations at once."""
OF_A_MODEL = ("DeployEndpoint", "DescribeEndpoint", "AskBatch", "DeleteTemporaryEndpoint")
TASKS = [name for name, state in STATES.items() if state["Type"] == "Task"]
CALLS = [name for name in TASKS if STATES[name]["Resource"] != PUT_EVENTS]
RETRIED = sorted({retrier["ErrorEquals"][0] for name in CALLS for retrier in STATES[name]["Retry"]})
NO_WAIT = 0.01
EVENT = Upload("uploads", "runs/walk/run.json", "1").event


def look(outcome: str) -> dict[str, Any]:
    """What a look at a job or endpoint tells."""
    return {"outcome": outcome, "wait_seconds": 1}


def planned(**changes: Any) -> dict[str, Any]:
    answer = {"outcome": "planned", "run_id": "walk-1", "parquet": False, "deploy": True, "compare_with_base": True}
    answer["shards_at_once"] = 2
    choices = {
        "judge": False,
        "must_beat_base": False,
        "imported": False,
        "autoscaling": False,
        "promoted": False,
        "approval": False,
        "approval_seconds": 60,
    }
    return answer | choices | changes


def prepared(**changes: Any) -> dict[str, Any]:
    answer = {"task": "chat", "train_rows": 9, "validation_rows": 3, "batches": [0, 1], "compare_with_base": True}
    return answer | {"judge_batches": [0, 1]} | changes


USUAL: dict[str, Any] = {
    "PlanRun": planned(),
    "ReframeParquet": {},
    "PlanShards": {"shards": [0, 1]},
    "PrepareShard": {},
    "FinishDataset": prepared(),
    "TakeTurn": look("go"),
    "StartTraining": look("in_progress") | {"job_name": "job"},
    "DescribeTraining": look("completed"),
    "PromoteModel": {"imported": False, "autoscaling": False},
    "ApproveDeployment": {},
    "DeployEndpoint": look("go") | {"instance_type": "ml.g5.4xlarge"},
    "DescribeEndpoint": look("in_service"),
    "ImportModel": look("go"),
    "DescribeImport": look("in_service"),
    "SwitchAlias": {},
    "AskBatch": {},
    "JudgeBatch": {},
    "DeleteTemporaryEndpoint": {},
    "EvaluateAnswers": {},
    "ScaleEndpoint": {},
    "RegisterModel": {},
    "ReportSuccess": {"event": {}},
    "SendSuccessEvent": {},
    "ReportFailure": {"code": "CODE", "message": "why", "event": {}},
    "SendFailureEvent": {},
}
"""What each state's function answers where a walk does not say otherwise."""

WALKS: dict[str, tuple[str, Answers]] = {
    "straight": ("SUCCEEDED", {}),
    "parquet": ("SUCCEEDED", {"PlanRun": [planned(parquet=True)]}),
    "duplicate": ("SUCCEEDED", {"PlanRun": [planned(outcome="duplicate")]}),
    "no-endpoint": ("SUCCEEDED", {"PlanRun": [planned(deploy=False)]}),
    "gate": ("SUCCEEDED", {"PlanRun": [planned(must_beat_base=True)]}),
    "scaled": ("SUCCEEDED", {"PlanRun": [planned(autoscaling=True)]}),
    "redeploy": ("SUCCEEDED", {"PlanRun": [planned(outcome="redeploy", compare_with_base=False)]}),
    "promotion": (
        "SUCCEEDED",
        {"PlanRun": [planned(outcome="promotion", promoted=True, approval=True, compare_with_base=False)]},
    ),
    "no-comparison": ("SUCCEEDED", {"FinishDataset": [prepared(compare_with_base=False)]}),
    "judged": ("SUCCEEDED", {"PlanRun": [planned(judge=True)]}),
    "judged-gate": ("SUCCEEDED", {"PlanRun": [planned(judge=True, must_beat_base=True)]}),
    "asked": ("SUCCEEDED", {"PlanRun": [planned(approval=True)]}),
    "imported": ("SUCCEEDED", {"PlanRun": [planned(imported=True)]}),
    "imported-gate": ("SUCCEEDED", {"PlanRun": [planned(imported=True, must_beat_base=True)]}),
    "imported-asked": ("SUCCEEDED", {"PlanRun": [planned(imported=True, approval=True)]}),
    "imported-again": (
        "SUCCEEDED",
        {"PlanRun": [planned(outcome="redeploy", imported=True, compare_with_base=False)]},
    ),
    "imported-patience": (
        "SUCCEEDED",
        {
            "PlanRun": [planned(imported=True)],
            "ImportModel": [look("waiting"), look("go")],
            "DescribeImport": [look("in_progress"), look("in_service")],
        },
    ),
    "patience": (
        "SUCCEEDED",
        {
            "TakeTurn": [look("waiting"), look("go")],
            "DescribeTraining": [look("in_progress"), look("retry_elsewhere"), look("in_progress"), look("completed")],
            "DeployEndpoint": [
                look(outcome) | {"instance_type": "ml.g5.4xlarge"} for outcome in ("waiting", "go", "go")
            ],
            "FinishDataset": [prepared(compare_with_base=False)],
            "DescribeEndpoint": [look("in_progress"), look("retry_elsewhere"), look("in_service")],
        },
    ),
    "refused": ("FAILED", {"FinishDataset": [Raised("DatasetRefused")]}),
    "no-run": ("FAILED", {"PlanRun": [Raised("NotFound")], "ReportFailure": [{"code": "CODE", "message": "why"}]}),
}
"""Walk → how it ends, and what the functions answer. The ways after an error are walked besides: see `failing`."""


@pytest.fixture(scope="module")
def scripted(emulator: Emulator) -> Iterator[Scripted]:
    machine_of_stubs = Scripted(emulator, USUAL)
    emulator.scale_waits(NO_WAIT)
    yield machine_of_stubs
    emulator.scale_waits(WAIT_SCALE)
    machine_of_stubs.close()


@pytest.fixture(scope="module")
def walked(scripted: Scripted) -> dict[str, tuple[str, list[str]]]:
    """Each of `WALKS`, walked: how it ended, and what it entered."""
    started = {name: scripted.start(name, answers, EVENT) for name, (_, answers) in WALKS.items()}
    return {name: ended(scripted, arn) for name, arn in started.items()}


@pytest.fixture(scope="module")
def failing(scripted: Scripted, walked: dict[str, tuple[str, list[str]]]) -> dict[str, tuple[str, list[str]]]:
    """For every catcher the first walk that comes by it, walked again with the error it is there for: in a step of one
    model, once with the tuned and once with the base model.
    """
    started = {}
    for number, (name, catcher) in enumerate(CATCHES):
        walk = next(walk for walk, (_, entered) in walked.items() if name in entered)
        error = catcher["ErrorEquals"][0].replace("States.ALL", "Defect")
        raising = FIRST_STEPS.get(name, name)
        for variant in ("live", "base") if raising in OF_A_MODEL else ("",):
            answers = {**WALKS[walk][1], f"{raising} {variant}".strip(): [Raised(error)] * MORE_THAN_RETRIED}
            walk_name = f"{name}-{number}-{variant}"
            started[walk_name] = scripted.start(f"failing-{walk_name}", answers, EVENT)
    return {name: ended(scripted, arn) for name, arn in started.items()}


def ended(scripted: Scripted, execution_arn: str) -> tuple[str, list[str]]:
    status = finished(scripted.emulator, execution_arn, seconds=180)["status"]
    return str(status), scripted.entered(execution_arn)


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_ends_as_it_should(walked: dict[str, tuple[str, list[str]]], walk: str) -> None:
    assert walked[walk][0] == WALKS[walk][0]


@pytest.mark.parametrize("edge", EDGES)
def test_the_edge_is_walked(
    walked: dict[str, tuple[str, list[str]]], failing: dict[str, tuple[str, list[str]]], edge: str
) -> None:
    assert any(edge in entered for _, entered in (*walked.values(), *failing.values()))


def test_whatever_fails_ends_as_failed_unless_it_goes_on_without(failing: dict[str, tuple[str, list[str]]]) -> None:
    for name, (status, entered) in failing.items():
        assert (status == "FAILED") == ("ReportFailure" in entered), name


@pytest.mark.parametrize("error", RETRIED)
def test_every_task_is_tried_again_after(scripted: Scripted, error: str) -> None:
    once = {name: [Raised(error)] for name in TASKS}
    name = f"tried-again-after-{error}"
    arn = scripted.start(
        name, {**once, "PlanRun": [Raised(error), planned(parquet=True, approval=True, judge=True)]}, EVENT
    )
    status, entered = ended(scripted, arn)
    assert status == "SUCCEEDED"
    asked = [call["state"] for call in scripted.asked[name]]
    assert {state for state in asked if asked.count(state) < 2} == set()
    assert {*asked} == {*TASKS} & {*entered}


def test_a_model_that_must_beat_the_base_model_goes_live_only_after_its_evaluation(
    scripted: Scripted, walked: dict[str, tuple[str, list[str]]]
) -> None:
    calls = [(call["state"], call["payload"].get("variant")) for call in scripted.asked["gate"]]
    evaluated = calls.index(("EvaluateAnswers", None))
    of_temporary = ("DeployEndpoint", "DescribeEndpoint", "AskBatch", "AskBatch", "DeleteTemporaryEndpoint")
    for variant in ("candidate", "base"):
        assert tuple(state for state, asked in calls[:evaluated] if asked == variant) == of_temporary
    assert [call for call in calls[evaluated:] if call[1]] == [("DeployEndpoint", "live"), ("DescribeEndpoint", "live")]


def test_the_evaluation_learns_why_the_judge_was_not_asked(
    scripted: Scripted, failing: dict[str, tuple[str, list[str]]]
) -> None:
    (walk,) = [name for name, (_, entered) in failing.items() if name.startswith("JudgeAnswers-")]
    assert failing[walk][0] == "SUCCEEDED"
    calls = {call["state"]: call["payload"] for call in scripted.asked[f"failing-{walk}"]}
    assert calls["EvaluateAnswers"]["judge_failure"]["Error"] == "Defect"
    told = [call["payload"] for call in scripted.asked["judged"] if call["state"] == "EvaluateAnswers"]
    assert [payload["judge_failure"] for payload in told] == [None]
    assert [call["payload"]["batch"] for call in scripted.asked["judged"] if call["state"] == "JudgeBatch"] == [0, 1]


def test_the_models_are_brought_up_and_asked_at_the_same_time(
    scripted: Scripted, walked: dict[str, tuple[str, list[str]]]
) -> None:
    """Neither waits for the other's endpoint: a slow one delays only its own answers."""
    seconds = {"tuned": 1.5, "base": 1.5}
    slow = {"DescribeEndpoint live": [Late(seconds["tuned"], look("in_service"))]}
    slow |= {"DescribeEndpoint base": [Late(seconds["base"], look("in_service"))]}
    began = time.monotonic()
    status, _ = ended(scripted, scripted.start("slow", slow, EVENT))
    assert status == "SUCCEEDED"
    looks = {
        call["payload"]["variant"]: call["at"] for call in scripted.asked["slow"] if call["state"] == "DescribeEndpoint"
    }
    assert abs(looks["live"] - looks["base"]) < min(seconds.values())
    assert time.monotonic() - began > max(seconds.values())


def test_the_other_model_is_not_asked_any_more_once_the_tuned_one_failed(
    scripted: Scripted, walked: dict[str, tuple[str, list[str]]]
) -> None:
    answers = {"DescribeEndpoint live": [Raised("EndpointFailed")]}
    answers["DescribeEndpoint base"] = [Late(1.5, look("in_service"))]
    status, entered = ended(scripted, scripted.start("one-fails", answers, EVENT))
    assert status == "FAILED"
    assert "AskBatch" not in entered
    (report,) = [call["payload"] for call in scripted.asked["one-fails"] if call["state"] == "ReportFailure"]
    assert failed_step(report["state"], report["error"]) == "DescribeEndpoint"
    assert report["error"]["Error"] == "EndpointFailed"


def test_a_redeployment_neither_trains_nor_evaluates(walked: dict[str, tuple[str, list[str]]]) -> None:
    entered = {*walked["redeploy"][1]} & {*TASKS}
    served = {"PlanRun", "DeployEndpoint", "DescribeEndpoint", "RegisterModel"}
    assert entered == served | {"ReportSuccess", "SendSuccessEvent"}


def test_a_promotion_asks_the_other_account_again_after_the_approval_and_trains_nothing(
    walked: dict[str, tuple[str, list[str]]],
) -> None:
    entered = [state for state in walked["promotion"][1] if state in TASKS]
    asked = ["PlanRun", "PromoteModel", "ApproveDeployment", "PromoteModel"]
    assert entered == [
        *asked,
        "DeployEndpoint",
        "DescribeEndpoint",
        "RegisterModel",
        "ReportSuccess",
        "SendSuccessEvent",
    ]


def test_a_redriven_execution_goes_on_where_it_was_aborted_and_its_steps_are_told(scripted: Scripted) -> None:
    states, waiting = scripted.emulator.client("stepfunctions"), look("waiting") | {"wait_seconds": 1 / NO_WAIT}
    arn = scripted.start("redriven", {"TakeTurn": [waiting]}, EVENT)
    while "WaitForTurn" not in scripted.entered(arn):
        time.sleep(0.05)
    states.stop_execution(executionArn=arn)
    states.redrive_execution(executionArn=arn)
    status, entered = ended(scripted, arn)
    assert status == "SUCCEEDED"
    assert entered.count("PlanShards") == 1
    turns = [call["payload"] for call in scripted.asked["redriven"] if call["state"] == "TakeTurn"]
    assert [(turn["execution_arn"], turn["redrives"]) for turn in turns] == [(arn, 0), (arn, 1)]
    began, again = (datetime.fromisoformat(turn["started_at"]) for turn in turns)
    assert began < again  # it has its whole time to wait again
