"""Geometry of the report's charts: numbers in, SVG coordinates out. The templates draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetuning.evaluation.loss_curve import Series
from finetuning.runs.timeline import Period

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 36
TIMELINE_WIDTH = 1_000
"""User units; the table cell scales the drawing to its own width."""
MIN_SLOTS = 6
"""Keeps the bars of a short histogram narrow."""
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


@dataclass(frozen=True)
class Tick:
    """A label on an axis, `at` user units from the top (y axis) or from the left (x axis)."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Line:
    title: str
    change: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """`points` of an SVG polyline."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class LineChart:
    lines: tuple[Line, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str
    count: int


@dataclass(frozen=True)
class BarChart:
    bars: tuple[Bar, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class TimelineBar:
    """A phase on the timeline: `x` and `width` in user units, at least wide enough to be visible."""

    title: str
    seconds: float
    x: float
    width: float


def timeline_bars(periods: Sequence[Period]) -> tuple[TimelineBar, ...]:
    """One bar per phase, placed between the start and the end of the run."""
    if not periods:
        return ()
    start, total = periods[0].begin, (periods[-1].end - periods[0].begin).total_seconds() or 1
    bars = []
    for each in periods:
        width = max(TIMELINE_WIDTH * each.duration.total_seconds() / total, TIMELINE_WIDTH / 200)
        x = min(TIMELINE_WIDTH * (each.begin - start).total_seconds() / total, TIMELINE_WIDTH - width)
        bars.append(TimelineBar(each.title, each.duration.total_seconds(), round(x, 1), round(width, 1)))
    return tuple(bars)


def line_chart(series: Sequence[Series]) -> LineChart | None:
    """Losses in the order they were reported, on an axis from zero; None if there are none."""
    values = [value for each in series for value in each.values if math.isfinite(value)]
    if not values:
        return None
    steps = nice_steps(max(values))
    last = max(len(each.values) for each in series) - 1

    def x(index: int) -> float:
        return round(LEFT + PLOT_WIDTH * (index / last if last else 0.5), 1)

    lines = tuple(
        Line(
            each.title,
            each.change,
            tuple(
                Point(x(index), _y(value, steps[-1]), f"{each.title}, value {index + 1}: {value:.3f}")
                for index, value in enumerate(each.values)
                if math.isfinite(value)
            ),
        )
        for each in series
    )
    stride = max(1, math.ceil((last + 1) / 10))
    x_ticks = tuple(Tick(x(index), str(index + 1)) for index in range(0, last + 1, stride))
    return LineChart(lines, _y_ticks(steps), x_ticks)


def bar_chart(counts: Sequence[tuple[str, int]]) -> BarChart | None:
    """A bar for each (label, count); None if all counts are zero."""
    if not any(count for _, count in counts):
        return None
    steps = nice_steps(max(count for _, count in counts))
    slot = PLOT_WIDTH / max(len(counts), MIN_SLOTS)
    bars = tuple(
        Bar(
            x=round(LEFT + slot * index + slot * 0.1, 1),
            y=_y(count, steps[-1]),
            width=round(slot * 0.8, 1),
            height=round(HEIGHT - BOTTOM - _y(count, steps[-1]), 1),
            label=label,
            count=count,
        )
        for index, (label, count) in enumerate(counts)
    )
    return BarChart(bars, _y_ticks(steps))


def nice_steps(top: float) -> list[float]:
    """Axis values from 0 to at least `top`, in steps of 1, 2 or 5 times a power of ten; at most six values."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / 5
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    return [round(step * index, 10) for index in range(math.ceil(top / step - 1e-9) + 1)]


def _y(value: float, top: float) -> float:
    return round(TOP + PLOT_HEIGHT * (1 - value / top), 1)


def _y_ticks(steps: Sequence[float]) -> tuple[Tick, ...]:
    return tuple(Tick(_y(step, steps[-1]), f"{step:,g}" if step < 1e6 else f"{step:.0e}") for step in steps)
