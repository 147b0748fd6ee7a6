from datetime import UTC, datetime, timedelta

import pytest

from finetuning.evaluation.loss_curve import loss_curve, overfits
from finetuning.runs.status import Metric

START = datetime(2026, 1, 1, tzinfo=UTC)


def any_metric(name: str, value: float, minute: int) -> Metric:
    return Metric(name=f"huggingface-textgeneration:{name}", value=value, time=START + timedelta(minutes=minute))


def test_losses_become_series_ordered_by_time_and_other_metrics_are_ignored() -> None:
    metrics = [
        any_metric("train-loss", 1.5, 2),
        any_metric("eval-loss", 2.5, 1),
        any_metric("train-loss", 4.0, 1),
        any_metric("eval-ppl", 12.2, 1),
    ]
    training, validation = loss_curve(metrics)
    assert (training.title, training.values, training.change) == ("training loss", (4.0, 1.5), "4.00 → 1.50")
    assert (validation.title, validation.values) == ("validation loss", (2.5,))


def test_a_job_without_metrics_has_no_curve() -> None:
    assert loss_curve([]) == []


def test_a_single_value_is_shown_once() -> None:
    (only,) = loss_curve([any_metric("train-loss", 1.5, 1)])
    assert only.change == "1.50"


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ((4.0, 1.0), (3.0, 1.5, 1.6), True),
        ((4.0, 1.0), (3.0, 1.6, 1.5), False),
        ((1.0, 4.0), (3.0, 1.5, 1.6), False),  # it diverges
        ((4.0, 1.0), (3.0,), False),
        ((), (1.5, 1.6), False),
    ],
)
def test_overfitting_is_a_validation_loss_that_rose_while_the_training_loss_fell(
    training: tuple[float, ...], validation: tuple[float, ...], expected: bool
) -> None:
    metrics = [any_metric("train-loss", value, n) for n, value in enumerate(training)]
    metrics += [any_metric("eval-loss", value, n) for n, value in enumerate(validation)]
    assert overfits(loss_curve(metrics)) is expected
