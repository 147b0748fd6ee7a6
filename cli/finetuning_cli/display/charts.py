"""Charts drawn with block characters."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from finetuning.datasets.dataset_report import Statistics
from finetuning.evaluation.loss_curve import loss_curve as loss_series
from finetuning.runs.status import RunStatus
from finetuning_cli.display.text import counted

BARS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 40


def loss_curve(status: RunStatus) -> RenderableType:
    """One line of bars per loss, with its first and last value: `training loss  ▇▃▁  4.05 → 0.73`."""
    table = Table.grid(padding=(0, 2))
    for series in loss_series(status.metrics):
        table.add_row(series.title, Text(bars(series.values), style="cyan"), series.change)
    return table


def bars(values: Sequence[float]) -> str:
    """One block per value; its height is the value's share of the largest."""
    top = max(values)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] if top > 0 else BARS[0] for value in values)


def length_histogram(statistics: Statistics) -> Table:
    """Rows by their number of tokens."""
    most = max(bucket.rows for bucket in statistics.histogram) or 1
    table = Table("Tokens", "Rows", "", title="Lengths", title_justify="left")
    for bucket in statistics.histogram:
        bar = "█" * round(BAR_WIDTH * bucket.rows / most)
        table.add_row(f"{bucket.at_least:,}–{bucket.below - 1:,}", f"{bucket.rows:,}", bar)
    if statistics.truncated and statistics.max_input_length:
        verb = "is" if statistics.truncated == 1 else "are"
        rows, limit = counted(statistics.truncated, "row"), counted(statistics.max_input_length, "token")
        table.caption = f"{rows} longer than {limit} {verb} truncated."
    return table
