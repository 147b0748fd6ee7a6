"""Training and validation loss, from the metrics a job reported."""

from collections.abc import Iterable
from dataclasses import dataclass

from finetuning.runs.status import Metric


@dataclass(frozen=True)
class Series:
    """The values of one metric by time: usually one per epoch; polling may miss some."""

    title: str
    values: tuple[float, ...]

    @property
    def change(self) -> str:
        """First and last value as text, "4.05 → 0.73"; a single value alone."""
        first, last = f"{self.values[0]:.2f}", f"{self.values[-1]:.2f}"
        return f"{first} → {last}" if len(self.values) > 1 else first


def loss_curve(metrics: Iterable[Metric]) -> list[Series]:
    """A series per metric whose name ends in "loss"; "eval" or "valid" in the name makes it the validation loss."""
    series: dict[str, list[Metric]] = {}
    for metric in metrics:
        if metric.name.lower().endswith("loss"):
            series.setdefault(_title(metric.name), []).append(metric)
    return [
        Series(title, tuple(each.value for each in sorted(found, key=lambda metric: metric.time)))
        for title, found in sorted(series.items())
    ]


def _title(name: str) -> str:
    return "validation loss" if "eval" in name.lower() or "valid" in name.lower() else "training loss"
