"""The capacity ladder: which attempt follows, and when it is given up."""

from datetime import timedelta

import pytest

from finetuning.errors import Code, TrainingFailed
from finetuning.runs.ladder import next_rung
from finetuning.runs.plan import TrainingPlan
from finetuning.runs.status import Rung, RunStatus
from tests.builders.runs import START, any_plan, any_status


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


def test_after_the_last_rung_the_first_comes_again_at_its_own_price() -> None:
    plan = any_training()
    assert [plan.option(attempt).instance_type for attempt in range(3)] == [
        "ml.p4d.24xlarge",
        "ml.g5.48xlarge",
        "ml.p4d.24xlarge",
    ]


def test_the_ladder_is_climbed_until_its_time_is_over() -> None:
    plan, first = any_training(), any_rung(0)
    assert next_rung(after(first), plan, first, START) == 5
    late = any_rung(9, seconds=3000)
    assert next_rung(after(first, late), plan, late, START + timedelta(seconds=3100)) == 310
    with pytest.raises(TrainingFailed, match=r"2 tries in 1\.1 h.*CapacityError") as failure:
        next_rung(after(first, late), plan, late, START + timedelta(seconds=4000))
    assert failure.value.code == Code.TRAINING_NO_CAPACITY


def test_every_rung_is_tried_once_even_where_there_is_no_time_to_wait() -> None:
    plan, first, second = any_training(hours=0), any_rung(0), any_rung(1, seconds=60)
    assert next_rung(after(first), plan, first, START + timedelta(hours=2)) > 0
    with pytest.raises(TrainingFailed):
        next_rung(after(first, second), plan, second, START + timedelta(hours=2))


def test_a_rung_told_again_keeps_the_time_it_began_at() -> None:
    status = after(any_rung(0)).with_rung(any_rung(0, seconds=900).model_copy(update={"outcome": "completed"}))
    (rung,) = status.ladder
    assert (rung.time, rung.outcome) == (START, "completed")
