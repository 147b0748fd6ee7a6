"""How long a run waits: for a job, for its turn, for capacity."""

from datetime import timedelta

import pytest

from finetuning.errors import Code, TrainingFailed
from finetuning.runs.plan import TrainingPlan, in_words
from finetuning.runs.status import Rung, RunStatus
from finetuning.runs.waiting import (
    Execution,
    elapsed_seconds,
    has_next_attempt,
    next_rung,
    patient_pause,
    pending_seconds,
    runs_ahead,
    turn_pause,
    wait_seconds,
)
from tests.builders.runs import START, any_plan, any_status


def test_a_job_of_a_minute_is_seen_to_end_within_five_seconds() -> None:
    assert wait_seconds(60) <= 5


def test_many_waiting_runs_poll_about_as_often_as_a_few() -> None:
    questions_per_second = sum(1 / turn_pause(ahead, elapsed_seconds=0) for ahead in range(1, 500))
    assert questions_per_second < 8


def any_executions(*seconds: int) -> list[Execution]:
    return [Execution(START + timedelta(seconds=each), f"arn:{number}") for number, each in enumerate(seconds)]


def test_the_run_that_started_first_is_first_in_any_order_of_the_list() -> None:
    running = any_executions(30, 10, 20)
    assert [runs_ahead(running, f"arn:{number}") for number in range(3)] == [2, 0, 1]


def test_two_runs_started_at_the_same_time_have_different_turns() -> None:
    assert sorted(runs_ahead(any_executions(5, 5), arn) for arn in ("arn:0", "arn:1")) == [0, 1]


def test_a_run_that_is_not_listed_yet_is_the_last() -> None:
    assert runs_ahead(any_executions(1, 2), "arn:new") == 2


def test_a_later_run_does_not_change_the_turn_of_an_earlier_one() -> None:
    before = any_executions(1, 2)
    later = [*before, Execution(START + timedelta(seconds=9), "arn:9")]
    assert runs_ahead(later, "arn:1") == runs_ahead(before, "arn:1")


def test_every_rung_is_tried_once_and_then_all_again_until_the_time_is_over() -> None:
    assert has_next_attempt(0, rungs=2, elapsed_seconds=7200, hours=1)
    assert not has_next_attempt(1, rungs=2, elapsed_seconds=7200, hours=1)
    assert has_next_attempt(7, rungs=2, elapsed_seconds=3599.9, hours=1)
    assert not has_next_attempt(7, rungs=2, elapsed_seconds=3600, hours=1)
    assert not has_next_attempt(0, rungs=1, elapsed_seconds=0, hours=0)


def test_the_pause_between_two_tries_grows_with_the_time_without_capacity() -> None:
    pauses = [patient_pause(minutes * 60) for minutes in (0, 1, 10, 60, 600)]
    assert pauses == [5, 6, 60, 360, 600]


def any_rung(attempt: int, seconds: int = 0) -> Rung:
    return Rung(
        attempt=attempt,
        instance_type="ml.p4d.24xlarge",
        job_name=f"job-{attempt}",
        time=START + timedelta(seconds=seconds),
        outcome="no_capacity",
        message="CapacityError",
    )


def after(*rungs: Rung) -> RunStatus:
    return any_status(ladder=list(rungs))


def any_training(hours: float = 1) -> TrainingPlan:
    return any_plan().training.model_copy(update={"capacity_wait_hours": hours})


def test_after_the_last_rung_the_first_is_tried_again() -> None:
    plan = any_training()
    assert [in_words(plan.group(attempt)) for attempt in range(3)] == [
        "ml.p4d.24xlarge",
        "ml.g5.48xlarge",
        "ml.p4d.24xlarge",
    ]


def test_the_ladder_is_climbed_until_its_time_is_over() -> None:
    plan, first = any_training(), any_rung(0)
    assert next_rung(after(first), plan, first, START) == 5
    late = any_rung(9, seconds=3000)
    assert next_rung(after(first, late), plan, late, START + timedelta(seconds=3100)) == 310
    with pytest.raises(TrainingFailed, match=r"2 attempts in 1\.1 h.*CapacityError") as failure:
        next_rung(after(first, late), plan, late, START + timedelta(seconds=4000))
    assert failure.value.code == Code.TRAINING_NO_CAPACITY


def test_every_rung_is_tried_once_even_where_there_is_no_time_to_wait() -> None:
    plan, first, second = any_training(hours=0), any_rung(0), any_rung(1, seconds=60)
    assert next_rung(after(first), plan, first, START + timedelta(hours=2)) > 0
    with pytest.raises(TrainingFailed):
        next_rung(after(first, second), plan, second, START + timedelta(hours=2))


def test_a_rung_that_is_updated_keeps_its_start_time() -> None:
    status = after(any_rung(0)).with_rung(any_rung(0, seconds=900).model_copy(update={"outcome": "completed"}))
    (rung,) = status.ladder
    assert (rung.time, rung.outcome) == (START, "completed")


def test_a_job_waits_for_instances_for_its_share_of_the_time_and_never_beyond_it() -> None:
    two = any_training(hours=4)
    assert [pending_seconds(two, hours * 3600) for hours in (0, 2, 3.25, 3.75, 9)] == [7200, 7200, 2700, 1800, 1800]
    assert pending_seconds(any_training(hours=0), 0) == 1800, "SageMaker's least"
    together = [option.model_copy(update={"request_key": "same"}) for option in two.options]
    assert pending_seconds(two.model_copy(update={"options": together}), 0) == 4 * 3600, "one job takes either type"


@pytest.mark.parametrize(("elapsed", "seconds"), [(0, 2), (60, 3), (100, 5), (101, 6), (12_000, 600), (360_000, 1_200)])
def test_the_next_poll_is_after_a_twentieth_of_the_time(elapsed: float, seconds: int) -> None:
    assert wait_seconds(elapsed) == seconds


def test_time_without_capacity_is_counted_from_the_first_attempt() -> None:
    status = after(any_rung(0), any_rung(1, seconds=600))
    assert elapsed_seconds(status, START + timedelta(hours=1)) == 3600
    assert elapsed_seconds(status, START - timedelta(seconds=1)) == 0, "clocks of two functions may differ"
    assert elapsed_seconds(after(), START) == 0


def test_a_run_that_finds_no_capacity_names_what_it_tried_and_how_to_try_longer() -> None:
    plan, first, second = any_training(hours=1), any_rung(0), any_rung(1, seconds=60)
    with pytest.raises(
        TrainingFailed, match=r"ml\.p4d\.24xlarge or ml\.g5\.48xlarge .* 2 attempts in 1000\.0 h"
    ) as failure:
        next_rung(after(first, second), plan, second, START + timedelta(hours=1000))
    assert "training.capacity_wait_hours" in failure.value.fix
    assert "training.fallback_instance_types" in failure.value.fix
    only = plan.model_copy(update={"options": plan.options[:1], "capacity_wait_hours": 0})
    with pytest.raises(TrainingFailed, match=r"in 1 attempt\."):
        next_rung(after(first), only, first, START)
