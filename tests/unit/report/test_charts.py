import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.evaluation.loss_curve import Series
from finetuning.report import charts
from finetuning.runs.status import Event
from finetuning.runs.timeline import phases
from tests.builders.runs import START, any_status, at


def any_series(*values: float, every: float = 60) -> Series:
    return Series("training loss", values, tuple(at(every * number) for number in range(len(values))))


def test_a_loss_falls_from_the_top_left_to_the_bottom_right() -> None:
    chart = charts.line_chart([any_series(4.0, 2.0, 1.0)])
    assert chart
    points = chart.lines[0].points
    assert [point.x for point in points] == [0, 50, 100]
    assert [point.y for point in points] == sorted(point.y for point in points)
    assert points[0].y == chart.y_ticks[-1].at == 0


def test_one_value_for_each_epoch_is_drawn_by_epoch() -> None:
    chart = charts.line_chart([any_series(4.0, 2.0, 1.0), any_series(3.0, 2.5, 2.0)], epochs=3)
    assert chart
    assert chart.x_title == "epoch"
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]
    assert chart.lines[1].points[0].label == "training loss, epoch 1: 3.000"


def test_values_of_every_few_steps_are_drawn_by_time() -> None:
    """Both losses share the axis: the validation loss, reported less often, is not stretched over it."""
    often, seldom = any_series(*[2.0] * 41), any_series(2.0, 1.0, every=600)
    chart = charts.line_chart([often, seldom], epochs=3)
    assert chart
    assert chart.x_title == "minutes since the first value"
    assert [tick.label for tick in chart.x_ticks] == ["0", "10", "20", "30", "40"]
    assert [point.x for point in chart.lines[1].points] == [0, 25]


def test_a_single_value_is_drawn_in_the_middle() -> None:
    chart = charts.line_chart([any_series(4.0)])
    assert chart
    assert chart.lines[0].points[0].x == chart.x_ticks[0].at == 50


def test_a_loss_that_is_not_a_finite_number_is_left_out() -> None:
    chart = charts.line_chart([any_series(math.nan, 1.0, math.inf)])
    assert chart
    assert len(chart.lines[0].points) == 1


def test_without_values_there_is_no_chart() -> None:
    assert charts.line_chart([]) is None
    assert charts.bar_chart([("0", 0)]) is None


def test_bars_start_at_the_axis_and_the_highest_count_is_the_tallest() -> None:
    chart = charts.bar_chart([("short", 10), ("long", 5), ("none", 0)])
    assert chart
    assert {bar.y + bar.height for bar in chart.bars} == {100}
    assert [bar.height for bar in chart.bars] == sorted((bar.height for bar in chart.bars), reverse=True)


@pytest.mark.parametrize(("top", "steps"), [(4.05, [0, 1, 2, 3, 4, 5]), (10, [0, 2, 4, 6, 8, 10]), (0, [0, 1])])
def test_an_axis_has_round_steps(top: float, steps: list[float]) -> None:
    assert charts.nice_steps(top) == steps


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_an_axis_reaches_the_maximum_with_at_most_six_values(top: float) -> None:
    steps = charts.nice_steps(top)
    assert steps[-1] >= top * (1 - 1e-6)
    assert 2 <= len(steps) <= 6


def test_a_phase_is_placed_on_the_timeline_by_its_start_and_duration() -> None:
    preflight, data, training, _ = charts.timeline_bars(phases(any_status(), START))
    assert preflight.x == 0
    assert training.x == pytest.approx(100 * 25 / 5400, abs=0.01)
    assert training.width == pytest.approx(100 * (5390 - 25) / 5400, abs=0.01)
    assert data.x < training.x


def test_a_phase_of_zero_seconds_is_visible_and_within_the_timeline() -> None:
    events = [
        Event(time=at(seconds), step=step, message="x") for seconds, step in ((0, "PlanRun"), (0, "FinishDataset"))
    ]
    for bar in charts.timeline_bars(phases(any_status(events=events, updated_at=START), START)):
        assert bar.width >= charts.MIN_WIDTH
        assert bar.x + bar.width <= 100
    assert charts.timeline_bars([]) == ()
