"""Two runs beside each other: the scores of both models on the same held-out rows, and which settings differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pydantic import computed_field

from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import compare
from finetuning.evaluation.intervals import mean_interval
from finetuning.evaluation.results import Comparison, EvaluationReport, Judgement, Row
from finetuning.evaluation.scores import measure_of
from finetuning.evaluation.verdict import held_out_prompts, numbers
from finetuning.lazy_model import LazyModel
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import LossChange, RunStatus, Verdict


@dataclass(frozen=True)
class EvaluatedRun:
    """The documents of a run that has asked its model."""

    status: RunStatus
    plan: RunPlan
    report: EvaluationReport

    @property
    def run_id(self) -> str:
        return self.status.run_id


class RunFigures(LazyModel):
    """One of the runs. `mean`: of the comparison's measure, over the rows that both models answered; `low` and `high`
    bound it with 95 % confidence, None with too few rows. `verdict`: against the base model; `judgement`: of a judge of
    its own, on its own prompts. USD; None if unknown.
    """

    run_id: str
    mean: float
    low: float | None
    high: float | None
    answers: int
    unusable: int
    verdict: Verdict
    judgement: Judgement | None
    losses: list[LossChange]
    training_usd: float | None
    training_usd_is_estimate: bool
    comparison_usd: float | None


class Difference(LazyModel):
    """A setting that the runs do not share; "" where a run does not have it."""

    setting: str
    first: str
    second: str


class RunComparison(LazyModel):
    """What `finetune compare` shows. In `comparison` the first run takes the place of the base model and the second
    that of the tuned one.
    """

    first: RunFigures
    second: RunFigures
    comparison: Comparison
    differences: list[Difference]

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def summary(self) -> str:
        """Which model is better, with its numbers."""
        return f"{self.headline}: {numbers(self.comparison)}"

    @property
    def headline(self) -> str:
        first, second = self.first.run_id, self.second.run_id
        if self.comparison.low is None:
            return f"Too few prompts to tell {first} and {second} apart"
        match self.comparison.outcome:
            case Verdict.HELPED:
                return f"{second} is better than {first}"
            case Verdict.WORSE:
                return f"{second} is worse than {first}"
            case _:
                return f"No measurable difference between {first} and {second}"


def compare_runs(first: EvaluatedRun, second: EvaluatedRun) -> RunComparison:
    """Compares the runs on the held-out rows that both were asked.

    Raises `FineTuningError` (RUNS_NOT_COMPARABLE) if the rows are not the same; one run may have been asked fewer.
    """
    ours, theirs = _held_out(first.report), _held_out(second.report)
    _require_same_rows(first.run_id, ours, second.run_id, theirs)
    pairs = {
        key: (before, after)
        for key, row in ours.items()
        if (before := row.tuned.scores) and key in theirs and (after := theirs[key].tuned.scores)
    }
    if not pairs:
        raise _not_comparable(
            "No held-out row was answered by both models.", "Read the answers of both in their report pages."
        )
    measure = measure_of([reference for _, reference in pairs])
    comparison = compare([(after, before) for before, after in pairs.values()], measure)
    sides = zip(*pairs.values(), strict=True)
    figures = [
        _figures(run, [each.by(measure) for each in scores]) for run, scores in zip((first, second), sides, strict=True)
    ]
    differences = list(_differences(_settings(first), _settings(second)))
    return RunComparison(first=figures[0], second=figures[1], comparison=comparison, differences=differences)


Held = Mapping[tuple[str, str], Row]
"""The held-out rows of a run, by prompt and reference answer."""


def _held_out(report: EvaluationReport) -> Held:
    return {(row.prompt, row.reference): row for row in report.rows if row.source == "held-out" and row.reference}


def _require_same_rows(first: str, ours: Held, second: str, theirs: Held) -> None:
    for run_id, held in ((first, ours), (second, theirs)):
        if not held:
            raise _not_comparable(
                f"The run {run_id} was asked no held-out row with a reference answer.",
                "Set validation_fraction and evaluation.prompts to more than 0, and start the run again.",
            )
    missing, extra = len(ours.keys() - theirs.keys()), len(theirs.keys() - ours.keys())
    if missing and extra:
        raise _not_comparable(
            f"The runs held out different rows: {missing} of the {held_out_prompts(len(ours))} of {first} are not "
            f"among the {len(theirs)} of {second}.",
            "Start both with the same data: the same rows are then held out, whatever the settings of the training.",
        )


def not_evaluated(run_id: str) -> FineTuningError:
    """The error for a run without an evaluation."""
    return _not_comparable(
        f"The run {run_id} was not evaluated.",
        "A run asks its model once its endpoint is in service: set endpoint.deploy to true, and start the run again.",
    )


def _not_comparable(message: str, fix: str) -> FineTuningError:
    return FineTuningError(Code.RUNS_NOT_COMPARABLE, message, fix)


def _figures(run: EvaluatedRun, scores: list[float]) -> RunFigures:
    status, summary, estimate = run.status, run.report.summary, run.plan.evaluation.estimate
    low, high = mean_interval(scores) or (None, None)
    billed = status.cost.actual_usd
    return RunFigures(
        run_id=run.run_id,
        mean=round(fmean(scores), 3),
        low=None if low is None else round(low, 3),
        high=None if high is None else round(high, 3),
        answers=summary.answers,
        unusable=summary.problems,
        verdict=run.report.verdict,
        judgement=run.report.judgement,
        losses=status.losses,
        training_usd=status.cost.estimate_usd if billed is None else billed,
        training_usd_is_estimate=billed is None,
        comparison_usd=estimate.usd if estimate and estimate.temporary_endpoints else None,
    )


def _settings(run: EvaluatedRun) -> dict[str, Any]:
    """What may explain a difference, by the names of run.json where it has them."""
    plan, trained_on = run.plan, [rung.instance_type for rung in run.status.ladder]
    instance_type = trained_on[-1] if trained_on else plan.training.instance_types[0]
    option = plan.training.option_on(instance_type) or plan.training.options[0]
    dataset = plan.dataset
    return {
        "model": plan.model_id,
        "model_version": plan.model_version,
        "task": plan.task,
        "training.instance_type": instance_type,
        **{f"hyperparameters.{name}": value for name, value in option.hyperparameters.items()},
        **plan.data_options.model_dump(mode="json", exclude={"task", "data"}),
        **{f"data.{name}": value for name, value in plan.data_options.data.model_dump(mode="json").items()},
        "training rows": dataset.train_rows if dataset else None,
        "training data": _digest(plan),
    }


def _digest(plan: RunPlan) -> str:
    """Of the files that were trained on, short."""
    digests = plan.dataset.sha256 if plan.dataset else {}
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items()))


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*ours, *theirs]):
        first, second = (_text(each.get(name)) for each in (ours, theirs))
        if first != second:
            yield Difference(setting=name, first=first, second=second)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def scores_in_words(figures: RunFigures) -> str:
    """`0.53, 95 % interval 0.47 to 0.59`"""
    return _with_interval(figures.mean, figures.low, figures.high)


def win_rate_in_words(figures: RunFigures) -> str:
    """`0.68, 95 % interval 0.58 to 0.78, by amazon.nova-pro-v1:0`; "—" if no judge compared anything."""
    found = figures.judgement
    if found is None or found.win_rate is None:
        return "—"
    return f"{_with_interval(found.win_rate, found.low, found.high)}, by {found.judge}"


def _with_interval(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f}, 95 % interval {low:.2f} to {high:.2f}"
