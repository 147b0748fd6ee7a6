"""Steps in the log of a training, and the speed that two of them show."""

from datetime import UTC, datetime, timedelta

import pytest

from finetuning.runs.training_steps import TrainingSteps, read_steps, speed

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def step_of(number: int, minutes: float = 0) -> TrainingSteps:
    """A step of 2 × 50."""
    at = NOON + timedelta(minutes=minutes)
    return TrainingSteps(time=at, epoch=1 + (number - 1) // 50, epochs=2, step=1 + (number - 1) % 50, steps=50, loss=1)


def test_a_step_is_read_with_its_time_from_a_line_of_jumpstarts_script() -> None:
    line = "Training Epoch: 1/3, step 387/388 completed (loss: 1.71): 100%|██████| 388/388 [12:01<00:00]"
    (found,) = read_steps([(NOON, "Loading checkpoint"), (NOON, line)])
    assert found == TrainingSteps(time=NOON, epoch=1, epochs=3, step=388, steps=388, loss=1.71)
    assert str(found) == "Epoch 1 of 3, step 388 of 388, loss 1.71"
    assert found.share == pytest.approx(1 / 3), "the script counts the steps of an epoch from 0"


@pytest.mark.parametrize(
    ("written", "loss"), [("0.25)", 0.25), ("9.5e-06)", 9.5e-06), ("2.)", 2), ("1.71...", 1.71), ("12)", 12)]
)
def test_the_loss_is_read_as_pytorch_writes_it(written: str, loss: float) -> None:
    (found,) = read_steps([(NOON, f"Training Epoch: 1/1, step 0/1 completed (loss: {written}")])
    assert (found.loss, found.share) == (loss, 1)


def test_a_line_that_was_written_over_again_counts_once_with_its_last_step() -> None:
    bar = "\r".join(f"Training Epoch: 2/3, step {step}/9 completed (loss: 0.5)" for step in (0, 1, 2))
    assert [found.step for found in read_steps([(NOON, bar)])] == [3]


@pytest.mark.parametrize("counts", ["Epoch: 1/0, step 0/9", "Epoch: 1/3, step 0/0"])
def test_steps_of_none_are_no_steps(counts: str) -> None:
    assert read_steps([(NOON, f"Training {counts} completed (loss: 0.5)")]) == []


def test_two_steps_show_the_speed_and_the_start() -> None:
    tokens_per_second, start = speed(step_of(20, 5), step_of(70, 10), NOON, tokens=6000) or (0, 0)
    assert tokens_per_second == pytest.approx(10)  # half of 6,000 tokens in five minutes
    assert start == pytest.approx(3 * 60)  # the first fifth took two of the first five minutes


def test_two_steps_of_one_second_show_the_speed() -> None:
    assert speed(step_of(20), step_of(21, 1 / 60), NOON, tokens=6000) == (pytest.approx(60), 0)


@pytest.mark.parametrize(("first", "last"), [((20, 5), (20, 6)), ((20, 5), (21, 5)), ((21, 5), (20, 6))])
def test_steps_that_are_no_progress_or_take_no_time_show_nothing(
    first: tuple[int, float], last: tuple[int, float]
) -> None:
    assert speed(step_of(*first), step_of(*last), NOON, tokens=6000) is None
