"""The page of `finetune compare`: two runs side by side on one self-contained page."""

from collections.abc import Sequence
from dataclasses import replace

from finetuning.evaluation.loss_curve import Series, loss_curve
from finetuning.evaluation.results import JUDGE_EXPLAINED, SCORES_EXPLAINED
from finetuning.evaluation.run_comparison import EvaluatedRun, RunComparison, scores_in_words, win_rate_in_words
from finetuning.evaluation.verdict import numbers
from finetuning.report.charts import LineChart, line_chart
from finetuning.report.page import environment, epochs_of, style
from finetuning.runs.status import Verdict

TONES = {Verdict.HELPED: "good", Verdict.WORSE: "bad"}


def render(compared: RunComparison, first: EvaluatedRun, second: EvaluatedRun) -> str:
    """The page as HTML. `compared`: what `compare_runs` made of the two."""
    return (
        environment()
        .get_template("comparison.html.jinja")
        .render(
            **style(),
            compared=compared,
            tone=TONES.get(compared.comparison.outcome, "warn"),
            numbers=numbers(compared.comparison),
            scores=[scores_in_words(each) for each in (compared.first, compared.second)],
            win_rates=_win_rates(compared),
            judge_explained=JUDGE_EXPLAINED,
            charts=_charts(first, second),
            scores_explained=SCORES_EXPLAINED,
        )
    )


def _win_rates(compared: RunComparison) -> list[str]:
    """Empty if neither run had a judge."""
    both = (compared.first, compared.second)
    return [win_rate_in_words(each) for each in both] if any(each.judgement for each in both) else []


def _charts(first: EvaluatedRun, second: EvaluatedRun) -> list[tuple[str, LineChart]]:
    """(loss, chart) of each loss, with a line for each run that reported it."""
    curves = [(run, series) for run in (first, second) for series in loss_curve(run.status.metrics)]
    epochs = {epochs_of(run.plan) for run in (first, second)}
    charts = []
    for title in sorted({series.title for _, series in curves}):
        lines = [_from_start(run.run_id, series) for run, series in curves if series.title == title]
        chart = line_chart(_together(lines), next(iter(epochs)) if len(epochs) == 1 else None)
        if chart:
            charts.append((title, chart))
    return charts


def _from_start(run_id: str, series: Series) -> Series:
    return replace(series, title=run_id)


def _together(lines: Sequence[Series]) -> list[Series]:
    """The series as if they had begun at the same time: the runs trained on different days."""
    begin = min(each.times[0] for each in lines)
    return [replace(each, times=tuple(begin + (time - each.times[0]) for time in each.times)) for each in lines]
