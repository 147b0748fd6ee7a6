"""The loss over the training, out of the metrics a job reported."""

from collections.abc import Iterable
from dataclasses import dataclass

from finetuning.runs.status import Metric


@dataclass(frozen=True)
class Series:
    """One metric's values in the order they were reported, one per epoch where none was missed between two looks."""

    title: str
    values: tuple[float, ...]

    @property
    def change(self) -> str:
        """First and last value, as text: "4.05 → 0.73"; the only one, where there is one."""
        first, last = f"{self.values[0]:.2f}", f"{self.values[-1]:.2f}"
        return f"{first} → {last}" if len(self.values) > 1 else first


def loss_curve(metrics: Iterable[Metric]) -> list[Series]:
    """The series of every metric whose name ends in "loss": the validation's are those that say "eval" or "valid"."""
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
