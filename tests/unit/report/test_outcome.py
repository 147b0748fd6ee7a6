"""The words of a run's end: headline, expiry of the endpoint, and the command that starts it again."""

import pytest

from finetuning.errors import Code
from finetuning.report import outcome
from finetuning.runs.status import CLEAN_UP, Cost, Event, RunState, RunStatus
from tests.builders.runs import RUN_ID, START, any_evaluation, any_failed_status, any_plan, any_status

OF_THE_COMMAND = {
    Code.OPENAI_JOB_UNUSABLE,
    Code.AWS_NOT_CONFIGURED,
    Code.DEPLOYMENT_NOT_FOUND,
    Code.RUN_NOT_FOUND,
    Code.RUN_NOT_STARTED,
    Code.REPORT_NOT_WRITTEN,
    Code.NOT_WAITING_FOR_APPROVAL,
    Code.CLEAN_UP_LATE,
    Code.ENDPOINT_NOT_FOUND,
    Code.NOTHING_TO_ROLL_BACK_TO,
    Code.RUN_HAS_NO_MODEL,
    Code.RUN_STILL_RUNNING,
    Code.BUDGET_TOO_SMALL,
    Code.BUDGET_SPENT,
    Code.LEFT_BEHIND,
    Code.LOG_NOT_FOUND,
    Code.RUNS_NOT_COMPARABLE,
    Code.PARQUET_NOT_INSTALLED,
    Code.DOWNLOAD_DAMAGED,
}


def failed_with(code: str, **changes: object) -> RunStatus:
    return any_failed_status(error={"code": code, "message": "m", "fix": "f"}, **changes)


def test_every_code_that_a_run_can_end_with_has_words() -> None:
    assert set(Code) - OF_THE_COMMAND == set(outcome.CAUSES)


@pytest.mark.parametrize("code", sorted(set(Code) - OF_THE_COMMAND))
def test_a_headline_names_the_cause_and_neither_a_code_nor_a_state(code: Code) -> None:
    headline = outcome.headline(failed_with(code))
    assert headline == f"Nothing was spent: {outcome.CAUSES[code]}"
    assert "_" not in headline


def test_a_headline_says_what_was_spent() -> None:
    spent = failed_with(Code.TRAINING_FAILED, training_job="j", cost=Cost(actual_usd=8.98))
    assert outcome.headline(spent) == "8.98 USD spent: the training job failed"
    unknown = failed_with(Code.RUN_ABORTED, training_job="j")
    assert outcome.headline(unknown) == "Training cost not yet known: the run was aborted"


def test_the_first_of_several_findings_is_in_the_headline() -> None:
    findings = [{"code": code} for code in (Code.EULA_NOT_ACCEPTED, Code.OVER_BUDGET, Code.NAME_TAKEN)]
    status = any_failed_status(error={"code": Code.RUN_REFUSED, "findings": findings})
    assert outcome.headline(status) == "Nothing was spent: Meta's licence is not accepted, and 2 more problems"


def test_the_headline_of_an_evaluated_run_is_its_verdict() -> None:
    assert outcome.headline(any_status(), any_evaluation()) == "Tuning helped: ROUGE-L 0.13 → 0.53"
    assert outcome.headline(any_status()) == "The tuned model is in service"


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_has_a_headline(state: RunState) -> None:
    assert outcome.headline(any_status(state=state))


def test_an_aborted_run_names_its_last_step_not_the_clean_up() -> None:
    events = [Event(time=START, step=step, message="x") for step in ("PlanRun", "DescribeTraining", CLEAN_UP)]
    status = any_status(state=RunState.ABORTED, step=CLEAN_UP, events=events)
    assert outcome.lead(status) == "The run was aborted at DescribeTraining."


@pytest.mark.parametrize(
    ("ttl", "idle", "expected"),
    [
        ("never", "never", "does not expire"),
        ("never", 60, "expires after 60 minutes without requests"),
        (8, "never", "expires on 2026-03-04 at 18:30 UTC"),
        (8, 60, "expires on 2026-03-04 at 18:30 UTC, or earlier after 60 minutes without requests"),
    ],
)
def test_when_the_endpoint_expires(ttl: object, idle: object, expected: str) -> None:
    plan = any_plan()
    endpoint = plan.endpoint.model_copy(update={"ttl_hours": ttl, "idle_minutes": idle})
    assert outcome.expiry(any_status(), plan.model_copy(update={"endpoint": endpoint})) == expected


@pytest.mark.parametrize(
    ("code", "changes", "command"),
    [
        (Code.DATASET_REFUSED, {}, "finetune submit pirate --stage dev"),
        (Code.RUN_ABORTED, {}, f"finetune submit --again {RUN_ID} --stage dev"),
        (Code.APPROVAL_TIMED_OUT, {"model_artifact": "s3://b/m/"}, f"finetune deploy {RUN_ID} --stage dev"),
        (Code.ENDPOINT_ANSWERS_BROKEN, {"model_artifact": "s3://b/m/"}, "finetune submit pirate --stage dev"),
    ],
)
def test_the_command_that_starts_the_run_again(code: str, changes: dict[str, str], command: str) -> None:
    again = outcome.retry(failed_with(code, **changes), any_plan(), "dev")
    assert again
    assert again[1] == command


def test_without_a_plan_the_upload_is_named_by_the_run() -> None:
    again = outcome.retry(failed_with(Code.RUN_JSON_INVALID), None, "dev")
    assert again
    assert again[1] == "finetune submit pirate --stage dev"
    assert outcome.retry(any_status(), any_plan(), "dev") is None
