"""The state machine's definition: what must hold of every state, checked on the definition that is deployed."""

import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetuning.aws.clients import JUDGING, ONCE
from finetuning.datasets.preparation import MAX_CALLS
from finetuning.evaluation.asking import (
    CALLS_AT_ONCE,
    JUDGE_CALLS_AT_ONCE,
    JUDGE_QUESTIONS_PER_BATCH,
    PAUSES,
    PROMPTS_PER_BATCH,
    batches,
    judge_batches,
)
from finetuning.jumpstart.requests import ENDPOINT_PROVISIONING_SECONDS
from finetuning.planning.endpoint_terms import DEFAULT_ENDPOINT_TIMEOUT
from finetuning.runs.guardrails import ROLLBACK_SECONDS
from finetuning.runs.imports import LONGEST_IMPORT
from finetuning.runs.outcomes import PENDING_GRACE
from finetuning.runs.run_json import (
    MAX_CAPACITY_WAIT_HOURS,
    MAX_ENDPOINT_FALLBACKS,
    MAX_FALLBACKS,
    MAX_OWN_PROMPTS,
    MAX_PROMPTS,
)
from finetuning.runs.waiting import (
    LONGEST_ENDPOINT_WAIT_HOURS,
    LONGEST_WAIT_HOURS,
    SHORTEST_PENDING,
    patient_pause,
    wait_seconds,
)
from finetuning.settings import LONGEST_APPROVAL_HOURS, LONGEST_RUNTIME_HOURS
from finetuning_cdk.state_machine.definition import FLOW, PUT_EVENTS, all_states, definition, functions_called
from finetuning_cdk.state_machine.diagram import DOCUMENT, with_diagram
from tests.builders.runs import most_attempts

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = ROOT / "lambda" / "finetuning" / "handlers"
VALIDATOR = ROOT / "node_modules" / ".bin" / "asl-validator"
MACHINE = definition()
State = dict[str, Any]

OUTSIDE_THE_WORKFLOW = {"clean_up_run", "sweep_runs", "sweep_endpoints", "remove_runs"}
NO_CAPACITY_SECONDS = ENDPOINT_PROVISIONING_SECONDS + ROLLBACK_SECONDS
"""Until an endpoint or an update of one has found no instances."""
LONGEST_ENDPOINT_SECONDS = ENDPOINT_PROVISIONING_SECONDS + 2 * DEFAULT_ENDPOINT_TIMEOUT
NOT_A_HANDLER = {"__init__", "step"}
OF_A_MODEL = (
    "DeployEndpoint",
    "DescribeEndpoint",
    "ImportModel",
    "DescribeImport",
    "AskModel",
    "DeleteTemporaryEndpoint",
)
"""The steps of one model, inside the Map of both."""


STATES = dict(all_states(MACHINE))
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
CALLS = {name: state for name, state in TASKS.items() if state["Resource"] != PUT_EVENTS}
"""The tasks that call a function."""
EVENTS = {"SendSuccessEvent": "Done", "SendFailureEvent": "Failed"}
"""The tasks that send an event, and what follows each."""


def successors(state: State) -> set[str]:
    ways = [state, *state.get("Choices", ()), *state.get("Catch", ())]
    return {way["Next"] for way in ways if "Next" in way} | ({state["Default"]} if "Default" in state else set())


@pytest.mark.skipif(not VALIDATOR.exists(), reason="npm ci has not installed the validator")
def test_the_validator_of_the_states_language_accepts_the_definition(tmp_path: Path) -> None:
    substituted = tmp_path / "definition.asl.json"
    function = "arn:aws:lambda:eu-west-1:123456789012:function:f"
    substituted.write_text(re.sub(r"\$\{\w+\}", function, json.dumps(MACHINE)))
    verdict = subprocess.run([VALIDATOR, "--json-path", substituted], capture_output=True, text=True)
    assert verdict.returncode == 0, verdict.stdout


@pytest.mark.skipif(not VALIDATOR.exists(), reason="npm ci has not installed the validator")
def test_the_validator_rejects_an_unknown_next_state(tmp_path: Path) -> None:
    broken = definition()
    broken["States"]["PlanShards"]["Next"] = "Nowhere"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    verdict = subprocess.run([VALIDATOR, "--json-path", tmp_path / "broken.json"], capture_output=True)
    assert verdict.returncode != 0


def test_the_file_is_plain_json_and_keeps_only_what_differs_from_the_standard() -> None:
    flow = dict(all_states(json.loads(FLOW.read_text(encoding="utf-8"))))
    assert flow.keys() == STATES.keys()
    assert not [name for name, state in flow.items() if "Retry" in state]
    own = {"PrepareShard", "PrepareShards", *OF_A_MODEL, "JudgeAnswers", "ReportFailure", *EVENTS}
    assert {name for name, state in flow.items() if "Catch" in state} == own


def test_a_definition_can_be_changed_without_changing_the_next_one() -> None:
    changed = definition()
    changed["States"]["PlanRun"]["Retry"][0]["ErrorEquals"].clear()
    assert definition() == MACHINE


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_a_comment(name: str) -> None:
    assert len(STATES[name]["Comment"]) > 20


@pytest.mark.parametrize("name", sorted({*MACHINE["States"]} & {*TASKS, "PrepareShards", "ServeModels"}))
def test_every_error_of_a_step_is_caught(name: str) -> None:
    (catch,) = MACHINE["States"][name]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    assert catch["Next"] == {"ReportFailure": "Failed", **EVENTS}.get(name, "ReportFailure")


@pytest.mark.parametrize("name", OF_A_MODEL)
def test_every_error_with_a_model_is_caught_under_the_name_of_its_step(name: str) -> None:
    """The base model's ends the comparison; one that leaves an endpoint behind fails the run, as the tuned model's."""
    (catch,) = STATES[name]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    step = "AskBatch" if name == "AskModel" else name
    assert catch["Assign"] == {"failed_step": step, "fault": "{% $states.errorOutput %}"}
    assert catch["Next"] == ("ModelFailed" if name == "DeleteTemporaryEndpoint" else "IsBaseModel")
    assert STATES["ModelFailed"]["Error"] == "{% $fault.Error %}"
    assert "'step': $failed_step" in STATES["ModelFailed"]["Cause"]
    assert successors(STATES["IsBaseModel"]) == {"DeleteTemporaryEndpoint", "ModelFailed"}


def assigned(machine: State) -> set[str]:
    """The variables that states assign in this scope: not those inside its Maps."""
    return {
        name
        for state in machine["States"].values()
        for way in (state, *state.get("Choices", ()), *state.get("Catch", ()))
        for name in way.get("Assign", {})
    }


def test_no_variable_of_an_outer_scope_is_assigned_inside_a_map() -> None:
    """Step Functions' guide on variables forbids the same name in both."""

    def scopes(machine: State, outer: set[str]) -> int:
        here = assigned(machine)
        assert not here & outer
        inner = (state["ItemProcessor"] for state in machine["States"].values() if "ItemProcessor" in state)
        return 1 + sum(scopes(each, outer | here) for each in inner)

    assert scopes(MACHINE, set()) == 5


def test_a_failure_is_reported_with_the_step_that_failed() -> None:
    for name, state in MACHINE["States"].items():
        for catch in state.get("Catch", ()):
            if catch["Next"] == "ReportFailure":
                assert catch["Assign"] == {
                    "failed_state": "PrepareShard" if name == "PrepareShards" else name,
                    "failure": "{% $states.errorOutput %}",
                }


def test_a_killed_shard_keeps_its_error_s_name_and_gains_its_number() -> None:
    (catch,) = STATES["PrepareShard"]["Catch"]
    assert catch["Next"] == "ShardKilled"
    assert {"Runtime.ExitError", "Lambda.Unknown", "Sandbox.Timedout", "States.Timeout"} < set(catch["ErrorEquals"])
    assert STATES["ShardKilled"]["Error"] == "{% $states.input.failure.Error %}"
    assert "'shard': $states.input.shard" in STATES["ShardKilled"]["Cause"]


def test_a_reported_failure_ends_as_failed() -> None:
    assert successors(STATES["ReportFailure"]) == {"IsEndOfRun", "Failed"}
    assert successors(STATES["IsEndOfRun"]) == {"SendFailureEvent", "Failed"}
    assert STATES["Failed"]["Type"] == "Fail"


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_that_is_not_sent_changes_nothing_about_the_end(name: str) -> None:
    state = STATES[name]
    assert successors(state) == {EVENTS[name]}
    assert {way["Output"] for way in (state, *state["Catch"])} == {"{% $states.input %}"}
    assert state["Retry"][0]["ErrorEquals"] == ["States.TaskFailed", "States.Timeout"]
    (retry,) = state["Retry"]
    assert sum(pauses(retry)) < 60


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_what_the_function_before_returned(name: str) -> None:
    assert TASKS.keys() - CALLS.keys() == EVENTS.keys()
    (entry,) = STATES[name]["Arguments"]["Entries"]
    assert entry == {
        "Source": "finetune.run",
        "DetailType": "Fine-Tuning Run State Change",
        "Detail": "{% $states.input.event %}",
    }


@pytest.mark.parametrize("name", CALLS)
def test_only_transient_errors_are_retried(name: str) -> None:
    """Throttling and faults of Lambda for some minutes, a function that died three times, one that timed out once. An
    approval that was not given in time is not requested again.
    """
    service, throttled, idle, died, late = TASKS[name]["Retry"]
    assert service["ErrorEquals"] == [
        "TransientAwsError",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
    ]
    assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
    assert idle["ErrorEquals"][0] == "Lambda.ResourceNotReadyException"
    assert died["ErrorEquals"] == ["Runtime.ExitError", "Lambda.Unknown"]
    slow = ["Sandbox.Timedout"] if name == "ApproveDeployment" else ["Sandbox.Timedout", "States.Timeout"]
    assert late["ErrorEquals"] == slow
    assert [retry["MaxAttempts"] for retry in (service, died, late)] == [6, 3, 1]
    assert {retry["JitterStrategy"] for retry in (service, throttled, died, late)} == {"FULL"}


def pauses(retry: State) -> list[float]:
    """The longest pause before each further try."""
    grown = (retry["IntervalSeconds"] * retry["BackoffRate"] ** n for n in range(retry["MaxAttempts"]))
    return [min(seconds, retry.get("MaxDelaySeconds", math.inf)) for seconds in grown]


def test_an_idle_function_has_more_than_ten_minutes_to_become_ready() -> None:
    _, _, idle, *_ = TASKS["PlanShards"]["Retry"]
    assert "JitterStrategy" not in idle  # full jitter may make any pause zero
    assert sum(pauses(idle)) > 600


def test_an_account_without_concurrency_is_waited_for() -> None:
    _, throttled, *_ = TASKS["PlanShards"]["Retry"]
    assert len(pauses(throttled)) >= 50
    assert max(pauses(throttled)) == 60
    assert sum(pauses(throttled)) / 2 > 1200  # full jitter halves a pause on average


def test_a_step_calls_the_function_of_its_name() -> None:
    for name, state in CALLS.items():
        assert state["Arguments"]["FunctionName"] == f"${{{name}}}"


def test_a_step_that_works_for_a_known_run_learns_how_often_its_execution_was_redriven() -> None:
    redrives = "{% $states.context.Execution.RedriveCount %}"
    told = {name for name, state in TASKS.items() if redrives in json.dumps(state)}
    # PlanRun and ReportFailure set the run's state themselves; PrepareShard writes no status.
    assert told == CALLS.keys() - {"PlanRun", "PrepareShard", "ReportFailure"}


@pytest.mark.parametrize("name", CALLS)
def test_a_step_returns_only_the_payload_of_its_function(name: str) -> None:
    """The result of a call also has the headers of the response; that of a task token is the payload itself."""
    waits_for_token = STATES[name]["Resource"].endswith(".waitForTaskToken")
    assert STATES[name]["Output"] == "{% $states.result" + ("" if waits_for_token else ".Payload") + " %}"


def test_state_names_fit_the_graph_of_the_console() -> None:
    assert max(map(len, STATES)) <= 26


def test_every_handler_is_a_step_and_every_step_has_a_handler() -> None:
    handlers = {path.stem for path in HANDLERS.glob("*.py")} - NOT_A_HANDLER
    steps = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in functions_called(MACHINE)}
    assert handlers - OUTSIDE_THE_WORKFLOW == steps


def test_every_state_is_reachable() -> None:
    for machine in (MACHINE, *(state["ItemProcessor"] for state in STATES.values() if "ItemProcessor" in state)):
        reached, ahead = set(), {machine["StartAt"]}
        while ahead:
            reached |= ahead
            ahead = {to for name in ahead for to in successors(machine["States"][name])} - reached
        assert reached == set(machine["States"])


def test_only_inline_maps_are_used() -> None:
    for state in STATES.values():
        if state["Type"] == "Map":
            assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "INLINE"}


EVENTS_PER_POLL = 9
"""Two of the wait, five of the task, two of the choice."""


MOST_PROMPTS = MAX_PROMPTS + MAX_OWN_PROMPTS
EVENTS_PER_BATCH, EVENTS_PER_TRY = 8, 3
"""Iteration, state and call of a batch; and a call that fails."""


def slowest_evaluation_hours() -> float:
    """Every call takes as long as the client waits, every time."""
    rounds = -(-PROMPTS_PER_BATCH // CALLS_AT_ONCE)
    one = rounds * ((1 + len(PAUSES)) * ONCE.read_timeout + sum(PAUSES))
    return -(-len(batches(MOST_PROMPTS)) // STATES["AskModel"]["MaxConcurrency"]) * one / 3600


def longest_judge_batch() -> float:
    """In seconds."""
    rounds = -(-JUDGE_QUESTIONS_PER_BATCH // JUDGE_CALLS_AT_ONCE)
    return rounds * ((1 + len(PAUSES)) * 2 * JUDGING.read_timeout + sum(PAUSES))


def slowest_judge_hours() -> float:
    """The same of the judge, whose every answer must be asked for again."""
    one = longest_judge_batch()
    assert one < STATES["JudgeBatch"]["TimeoutSeconds"] - 60
    return -(-len(judge_batches(MOST_PROMPTS)) // STATES["JudgeAnswers"]["MaxConcurrency"]) * one / 3600


def polls(seconds: float, pause: Callable[[float], int] = wait_seconds) -> int:
    """How often something that takes this long is polled."""
    elapsed, count = 0.0, 0
    while elapsed < seconds:
        elapsed += pause(elapsed)
        count += 1
    return count


def test_the_longest_run_fits_the_history_of_an_execution() -> None:
    """25,000 events: a day in the queue, a day without capacity, the longest job, and with a gate two endpoints that
    are asked the most prompts and then a third.
    """
    attempts = most_attempts(1 + MAX_FALLBACKS, MAX_CAPACITY_WAIT_HOURS)
    # A job without capacity is created, polled once, and followed by a wait.
    events = {
        "preparation of all shards": MAX_CALLS * 8,
        "turn": polls(LONGEST_WAIT_HOURS * 3600) * EVENTS_PER_POLL,
        "attempts": attempts * (EVENTS_PER_POLL + EVENTS_PER_POLL),
        "training": polls((MAX_CAPACITY_WAIT_HOURS + LONGEST_RUNTIME_HOURS) * 3600) * EVENTS_PER_POLL,
        "endpoints, or an import": EVENTS_PER_POLL
        * max(
            2 * polls(LONGEST_ENDPOINT_SECONDS) + MAX_ENDPOINT_FALLBACKS * polls(NO_CAPACITY_SECONDS),
            polls(LONGEST_IMPORT.total_seconds()),
        ),
        "the endpoint's turn": polls(LONGEST_ENDPOINT_WAIT_HOURS * 3600) * EVENTS_PER_POLL,
        "the base model": EVENTS_PER_POLL
        * (
            polls(LONGEST_ENDPOINT_SECONDS, patient_pause)
            + MAX_ENDPOINT_FALLBACKS * polls(NO_CAPACITY_SECONDS, patient_pause)
            + polls(LONGEST_ENDPOINT_WAIT_HOURS * 3600, patient_pause)
        ),
        "prompts, each batch's function dying twice": (
            2 * len(batches(MOST_PROMPTS)) * (EVENTS_PER_BATCH + 2 * EVENTS_PER_TRY)
        ),
        "the judge's questions, each batch's function dying twice": (
            len(judge_batches(MOST_PROMPTS)) * (EVENTS_PER_BATCH + 2 * EVENTS_PER_TRY)
        ),
        "everything else": 20 * EVENTS_PER_POLL,
    }
    assert sum(events.values()) < 25_000, events


def test_the_longest_run_fits_the_time_limit_of_an_execution() -> None:
    hours = {
        "preparation": 12,
        "turn": LONGEST_WAIT_HOURS,
        "capacity": MAX_CAPACITY_WAIT_HOURS,
        "the last job's wait for instances": (SHORTEST_PENDING + PENDING_GRACE.total_seconds()) / 3600,
        "training": LONGEST_RUNTIME_HOURS,
        "approval": LONGEST_APPROVAL_HOURS,
        "the endpoint's turn": LONGEST_ENDPOINT_WAIT_HOURS,
        "endpoints, or an import": max(
            2 * LONGEST_ENDPOINT_SECONDS + MAX_ENDPOINT_FALLBACKS * NO_CAPACITY_SECONDS,
            LONGEST_IMPORT.total_seconds(),
        )
        / 3600,
        "evaluation": slowest_evaluation_hours(),
        "judge": slowest_judge_hours(),
    }
    assert sum(hours.values()) * 3600 < MACHINE["TimeoutSeconds"], hours


def ways_from(state: str, **given: Any) -> str:
    """Where the first condition of a Choice leads that these values make true: `and` and `or` of comparisons alone."""
    for choice in STATES[state]["Choices"]:
        condition = choice["Condition"].strip("{%} ").replace("$states.input.", "").replace("$", "")
        if eval(re.sub(r"(?<!!)=", "==", condition), {}, given):
            return str(choice["Next"])
    return str(STATES[state]["Default"])


@pytest.mark.parametrize(("imported", "variant", "first"), [
    (True, "live", "ImportModel"), (True, "candidate", "ImportModel"), (True, "base", "DeployEndpoint"),
    (False, "live", "DeployEndpoint"), (False, "candidate", "DeployEndpoint"), (False, "base", "DeployEndpoint"),
])  # fmt: skip
def test_only_a_tuned_model_is_imported(imported: bool, variant: str, first: str) -> None:
    assert ways_from("IsImported", imported=imported, variant=variant) == first


@pytest.mark.parametrize(("outcome", "evaluate", "following"), [
    ("waiting", True, "WaitToImport"), ("go", True, "WaitForImport"), ("in_progress", True, "WaitForImport"),
    ("in_service", True, "AskModel"), ("in_service", False, "ModelServes"),
])  # fmt: skip
def test_an_import_is_waited_for_and_its_model_asked(outcome: str, evaluate: bool, following: str) -> None:
    assert ways_from("ImportOutcome", outcome=outcome, evaluate=evaluate) == following
    assert successors(STATES["ImportModel"]) == successors(STATES["DescribeImport"]) == {"ImportOutcome", "IsBaseModel"}


@pytest.mark.parametrize(("imported", "variant", "following"), [
    (True, "live", "ModelServes"), (True, "candidate", "ModelServes"), (True, "base", "DeleteTemporaryEndpoint"),
    (False, "live", "ModelServes"), (False, "candidate", "DeleteTemporaryEndpoint"),
])  # fmt: skip
def test_an_imported_candidate_is_kept_for_its_deployment(imported: bool, variant: str, following: str) -> None:
    assert ways_from("IsTemporary", imported=imported, variant=variant) == following


@pytest.mark.parametrize(("target", "imported", "autoscaling", "following"), [
    ("candidate", True, False, "IsApprovalNeeded"), ("live", True, False, "SwitchAlias"),
    ("live", False, True, "ScaleEndpoint"), ("live", False, False, "RegisterModel"),
])  # fmt: skip
def test_the_name_is_switched_after_evaluation_gate_and_approval_alone(
    target: str, imported: bool, autoscaling: bool, following: str
) -> None:
    assert ways_from("IsLive", target=target, imported=imported, autoscaling=autoscaling) == following
    assert {name for name, state in STATES.items() if "SwitchAlias" in successors(state)} == {"IsLive"}


@pytest.mark.parametrize(("evaluate", "judge", "following"), [
    (True, True, "JudgeAnswers"), (True, False, "EvaluateAnswers"), (False, True, "IsLive"), (False, False, "IsLive"),
])  # fmt: skip
def test_a_judge_is_asked_before_the_evaluation_and_only_if_there_is_one(
    evaluate: bool, judge: bool, following: str
) -> None:
    assert ways_from("IsEvaluated", evaluate=evaluate, judge=judge) == following


def test_without_the_judge_the_evaluation_goes_on_and_learns_why() -> None:
    assert successors(STATES["JudgeAnswers"]) == {"EvaluateAnswers"}
    (catch,) = STATES["JudgeAnswers"]["Catch"]
    assert (catch["ErrorEquals"], catch["Output"]) == (["States.ALL"], {"failure": "{% $states.errorOutput %}"})
    given = STATES["EvaluateAnswers"]["Arguments"]["Payload"]["judge_failure"]
    assert given == "{% $exists($states.input.failure) ? $states.input.failure : null %}"


@pytest.mark.parametrize(("promoted", "following"), [(True, "PromoteModel"), (False, "ServeModels")])
def test_a_promoted_model_is_looked_at_again_between_its_approval_and_its_deployment(
    promoted: bool, following: str
) -> None:
    assert ways_from("IsPromoted", promoted=promoted) == following
    assert ways_from("IsNewRun", outcome="promotion", parquet=False) == "PromoteModel"
    assert STATES["PromoteModel"]["Next"] == "IsApprovalNeeded"
    assert (STATES["ApproveDeployment"]["Next"], STATES["ApproveDeployment"]["Assign"]) == (
        "IsPromoted",
        {"approval": False},
    )
    assert {name for name, state in STATES.items() if "IsPromoted" in successors(state)} == {"ApproveDeployment"}


def test_the_diagram_in_the_documentation_is_current() -> None:
    assert DOCUMENT.read_text() == with_diagram(DOCUMENT.read_text()), "python -m finetuning_cdk.state_machine.diagram"
