"""status.json: what a run reports while it runs."""

import pytest

from finetuning.runs.status import Metric, Rung, RunStatus
from finetuning.runs.training_steps import TrainingSteps
from tests.builders.runs import any_status, at


def test_an_event_is_added_with_its_step_and_time_and_ends_the_wait() -> None:
    before = any_status(progress="waits for an instance")
    after = before.with_event("DeployEndpoint", "Started the update", at(9_000))
    assert after.events[:-1] == before.events
    assert (after.step, after.updated_at, after.progress) == ("DeployEndpoint", at(9_000), "")
    assert (after.events[-1].step, after.events[-1].message, after.events[-1].time) == (
        "DeployEndpoint",
        "Started the update",
        at(9_000),
    )


def test_a_change_that_comes_with_an_event_wins() -> None:
    after = any_status().with_event("TakeTurn", "", at(9_000), progress="2 runs before this one")
    assert after.progress == "2 runs before this one"


def test_a_repeated_or_empty_message_adds_no_event() -> None:
    once = any_status().with_event("DescribeTraining", "Downloading", at(9_000))
    again = once.with_event("DescribeTraining", "Downloading", at(9_060))
    assert again.events == once.events
    assert again.updated_at == at(9_060)
    assert once.with_event("DescribeTraining", "", at(9_060)).events == once.events
    assert len(once.with_event("DescribeTraining", "Training", at(9_060)).events) == len(once.events) + 1
    assert len(once.with_event("StartTraining", "Downloading", at(9_060)).events) == len(once.events) + 1


def any_rung(attempt: int, seconds: float) -> Rung:
    return Rung(attempt=attempt, instance_type="ml.g5.48xlarge", job_name=f"job-{attempt}", time=at(seconds))


def test_each_attempt_is_in_the_ladder_once_with_its_start_time() -> None:
    status = any_status().with_rung(any_rung(0, 1)).with_rung(any_rung(1, 2)).with_rung(any_rung(1, 3))
    assert [(rung.attempt, rung.time) for rung in status.ladder] == [(0, at(1)), (1, at(2))]


def test_a_metric_that_is_seen_again_is_kept_once() -> None:
    first = Metric(name="eval-loss", value=0.9, time=at(1))
    later = [
        first,
        first.model_copy(update={"time": at(2)}),
        first.model_copy(update={"value": 0.8}),
        first.model_copy(update={"name": "train-loss"}),
    ]
    status = any_status(metrics=[]).with_metrics([first]).with_metrics(later)
    assert status.metrics == later


def test_a_person_is_shown_the_last_event_and_where_to_look() -> None:
    status = any_status()
    assert status.shown == {"message": status.events[-1].message, "links": status.links}
    assert any_status(events=[]).shown["message"] == ""


def any_step(step: int, loss: float) -> TrainingSteps:
    return TrainingSteps(time=at(step), epoch=1, epochs=1, step=step, steps=90, loss=loss)


def test_the_status_says_what_the_training_did_to_each_loss() -> None:
    written = any_status().model_dump(mode="json")
    assert written["losses"] == [
        {"title": "training loss", "before": 4.05, "after": 0.73},
        {"title": "validation loss", "before": 3.71, "after": 0.81},
    ]
    assert RunStatus.model_validate(written) == any_status()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train-loss", "eval-loss"], ["training loss 4.10 → 0.90", "validation loss 0.50"]),
        (["eval-loss"], ["training loss 4.10 → 0.90", "validation loss 0.50"]),
        (["eval-ppl"], ["training loss 4.10 → 0.90"]),
    ],
)
def test_one_epoch_reports_no_loss_before_so_the_first_step_does(names: list[str], words: list[str]) -> None:
    metrics = [Metric(name=f"huggingface-textgeneration:{name}", value=0.5, time=at(9)) for name in names]
    status = any_status(metrics=metrics, first_steps=any_step(1, 4.1), last_steps=any_step(90, 0.9))
    assert [each.in_words for each in status.losses] == words


def test_a_single_step_shows_no_change() -> None:
    metrics = [Metric(name="train-loss", value=0.5, time=at(9))]
    status = any_status(metrics=metrics, first_steps=any_step(1, 4.1), last_steps=any_step(1, 4.1))
    assert [each.in_words for each in status.losses] == ["training loss 0.50"]
