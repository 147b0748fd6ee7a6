"""Geometry of the report's charts: numbers in, positions in percent of the plot out. The templates draw them as SVG.

Percentages let a chart be as wide as its screen while its text keeps its size. pygal 3.1, which draws SVG in pure
Python (1.9 MB, imported in 0.12 s), was tried instead: each chart has a style element, a style attribute and a script,
even without its tooltips, which the page's policy forbids; its colours do not follow the reader's light or dark scheme.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetuning.evaluation.loss_curve import Series
from finetuning.runs.timeline import Period

MIN_SLOTS = 6
"""Keeps the bars of a short histogram narrow."""
MIN_WIDTH = 0.5
"""Percent: a phase of no time is still visible on the timeline."""
MAX_X_TICKS = 7


@dataclass(frozen=True)
class Tick:
    """A label on an axis, `at` percent from the top (y axis) or from the left (x axis)."""

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
        """`points` of an SVG polyline in a view box of 100 by 100."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class LineChart:
    lines: tuple[Line, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    x_title: str


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
    """A phase on the timeline: at least wide enough to be visible."""

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
        width = max(100 * each.duration.total_seconds() / total, MIN_WIDTH)
        x = min(100 * (each.begin - start).total_seconds() / total, 100 - width)
        bars.append(TimelineBar(each.title, each.duration.total_seconds(), round(x, 2), round(width, 2)))
    return tuple(bars)


def line_chart(series: Sequence[Series], epochs: int | None = None) -> LineChart | None:
    """Losses on an axis from zero; None if there are none.

    The x axis is the epoch if each series has one value for each of `epochs`; otherwise, as when polling missed some
    or a job reports more often, the time since the first value.
    """
    values = [value for each in series for value in each.values if math.isfinite(value)]
    if not values:
        return None
    by_epoch = all(len(each.values) == epochs for each in series)
    places = [_epochs(each) if by_epoch else _minutes(each, series) for each in series]
    first, last = min(place[0] for place in places), max(place[-1] for place in places)
    steps, unit = nice_steps(max(values)), "epoch" if by_epoch else "minute"

    def x(place: float) -> float:
        return round(100 * (place - first) / (last - first) if last > first else 50, 2)

    lines = tuple(
        Line(
            each.title,
            each.change,
            tuple(
                Point(x(place), _y(value, steps[-1]), f"{each.title}, {unit} {place:g}: {value:.3f}")
                for place, value in zip(at, each.values, strict=True)
                if math.isfinite(value)
            ),
        )
        for each, at in zip(series, places, strict=True)
    )
    x_title = "epoch" if by_epoch else "minutes since the first value"
    ticks = tuple(Tick(x(place), f"{place:g}") for place in _marks(first, last))
    return LineChart(lines, _y_ticks(steps), ticks, x_title)


def _epochs(series: Series) -> list[float]:
    return [float(number) for number in range(1, len(series.values) + 1)]


def _minutes(series: Series, every: Sequence[Series]) -> list[float]:
    start = min(each.times[0] for each in every)
    return [round((time - start).total_seconds() / 60, 2) for time in series.times]


def _marks(first: float, last: float) -> list[float]:
    """Round places from `first` to `last`, at most `MAX_X_TICKS`, whole numbers if there is room for two."""
    if last <= first:
        return [first]
    step = nice_steps((last - first) * 5 / (MAX_X_TICKS - 1))[1]
    step = max(step, 1.0) if last - first >= 1 else step
    return [round(first + step * index, 10) for index in range(math.floor((last - first) / step + 1e-9) + 1)]


def bar_chart(counts: Sequence[tuple[str, int]]) -> BarChart | None:
    """A bar for each (label, count); None if all counts are zero."""
    if not any(count for _, count in counts):
        return None
    steps = nice_steps(max(count for _, count in counts))
    slot = 100 / max(len(counts), MIN_SLOTS)
    bars = tuple(
        Bar(
            x=round(slot * index + slot * 0.1, 2),
            y=_y(count, steps[-1]),
            width=round(slot * 0.8, 2),
            height=round(100 - _y(count, steps[-1]), 2),
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
    return round(100 * (1 - value / top), 2)


def _y_ticks(steps: Sequence[float]) -> tuple[Tick, ...]:
    return tuple(Tick(_y(step, steps[-1]), f"{step:,g}" if step < 1e6 else f"{step:.0e}") for step in steps)
