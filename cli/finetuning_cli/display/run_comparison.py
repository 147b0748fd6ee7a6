"""Two runs side by side in a terminal."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table

from finetuning.evaluation.run_comparison import RunComparison, RunFigures, scores_in_words, win_rate_in_words
from finetuning_cli.display.text import plain, records


def comparison_view(compared: RunComparison, width: int) -> RenderableType:
    """The summary, the figures of both runs, and the settings that differ."""
    first, second = compared.first, compared.second
    figures = Table(Column(""), *(Column(plain(each.run_id), overflow="fold") for each in (first, second)))
    figures.box, figures.padding = box.SIMPLE_HEAD, (0, 1)
    for title, ours, theirs in zip(_TITLES, _figures(first), _figures(second), strict=True):
        figures.add_row(title or compared.comparison.measure, plain(ours), plain(theirs))
    if not compared.differences:
        differences: RenderableType = plain("No setting differs.", "dim")
    else:
        rows = [(each.setting, each.first or "—", each.second or "—") for each in compared.differences]
        differences = records(("Setting", first.run_id, second.run_id), rows, width, "Settings that differ")
    return Group(plain(compared.summary, "bold"), figures, differences)


_TITLES = (
    "",
    "against the base model",
    "judge's win rate",
    "unusable answers",
    "losses",
    "training cost",
    "comparison with base",
)


def _figures(run: RunFigures) -> tuple[str, ...]:
    """In the order of `_TITLES`."""
    return (
        scores_in_words(run),
        str(run.verdict),
        win_rate_in_words(run),
        f"{run.unusable} of {run.answers}",
        "\n".join(each.in_words for each in run.losses) or "—",
        _usd(run.training_usd, estimate=run.training_usd_is_estimate),
        "—" if run.comparison_usd is None else f"about {_usd(run.comparison_usd, estimate=True)}",
    )


def _usd(amount: float | None, *, estimate: bool) -> str:
    return "unknown" if amount is None else f"{amount:,.2f} USD" + (" (estimate)" if estimate else "")
