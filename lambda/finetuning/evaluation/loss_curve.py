"""Training and validation loss, from the metrics a job reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from finetuning.runs.status import Metric


@dataclass(frozen=True)
class Series:
    """The values of one metric by time: usually one per epoch; polling may miss some."""

    title: str
    values: tuple[float, ...]
    times: tuple[datetime, ...] = ()

    @property
    def change(self) -> str:
        """First and last value as text, "4.05 → 0.73"; a single value alone."""
        first, last = f"{self.values[0]:.2f}", f"{self.values[-1]:.2f}"
        return f"{first} → {last}" if len(self.values) > 1 else first


def loss_curve(metrics: Iterable[Metric]) -> list[Series]:
    """A series for each loss."""
    series: dict[str, list[Metric]] = {}
    for metric in metrics:
        if metric.loss:
            series.setdefault(metric.loss, []).append(metric)
    return [_series(title, sorted(found, key=lambda metric: metric.time)) for title, found in sorted(series.items())]


def overfits(curve: Sequence[Series]) -> bool:
    """True if the validation loss ends above its lowest value and the training loss below its first."""
    values = {series.title: series.values for series in curve}
    training, validation = (values.get(f"{name} loss", ()) for name in ("training", "validation"))
    return len(validation) > 1 and len(training) > 1 and validation[-1] > min(validation) and training[-1] < training[0]


def _series(title: str, metrics: Sequence[Metric]) -> Series:
    return Series(title, tuple(each.value for each in metrics), tuple(each.time for each in metrics))
