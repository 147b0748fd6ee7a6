"""The instance types a run may train on, the preferred one first, each with its hyperparameters, limits and price."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.estimate import estimate
from finetuning.runs.plan import Estimate, TrainingOption
from finetuning.runs.run_json import MAX_FALLBACKS, RunRequest
from finetuning.settings import DeployedStage

FALLBACKS = "fallbacks"


@dataclass(frozen=True)
class Limits:
    """What a training may take: hours for the run, USD where there is a budget."""

    hours: float
    usd: float | None


@dataclass(frozen=True)
class Workload:
    """What is to be trained; `tokens` of one epoch."""

    task: Task | None
    hyperparameters: Mapping[str, Any]
    tokens: int | None
    tokens_from: str


def training_limits(request: RunRequest, stage: DeployedStage, checklist: Checklist) -> Limits:
    hours, usd = request.training.max_runtime_hours, request.training.max_cost_usd
    if hours is not None and hours > stage.max_runtime_hours:
        checklist.found(
            "time and cost",
            Finding(
                Code.OUT_OF_TIME,
                "training.max_runtime_hours",
                f"{hours:g} hours are more than the stage {stage.stage} allows, {stage.max_runtime_hours:g}.",
                "Ask for less, or raise the stage's limit and deploy it again.",
            ),
        )
    if usd is not None and stage.max_cost_usd is not None and usd > stage.max_cost_usd:
        checklist.found(
            "time and cost",
            Finding(
                Code.OVER_BUDGET,
                "training.max_cost_usd",
                f"{usd:.2f} USD are more than the stage {stage.stage} allows, {stage.max_cost_usd:.2f}.",
                "Ask for less, or raise the stage's limit and deploy it again.",
            ),
        )
    budgets = [budget for budget in (usd, stage.max_cost_usd) if budget is not None]
    return Limits(min(hours or stage.max_runtime_hours, stage.max_runtime_hours), min(budgets, default=None))


def trainable_types(
    instance_types: list[str], spec: ModelSpec, stage: DeployedStage, checklist: Checklist, *, chosen: bool
) -> list[str]:
    """Those the model can be trained on in the stage, a finding for each other that was asked for; the model's default
    where none is left.
    """
    good = []
    for position, instance_type in enumerate(instance_types):
        try:
            spec.training_image(instance_type, stage.aws_region)
            spec.gated_key(instance_type)
            _require_allowed(instance_type, stage)
        except FineTuningError as error:
            where = error.field if position == 0 else "training.fallback_instance_types"
            if position and not chosen:
                drop_fallback(instance_type, error.message, checklist)
            else:
                checklist.found("training instance", Finding(error.code, where, error.message, error.fix))
        else:
            good.append(instance_type)
    return good or [spec.default_training_instance_type]


def _require_allowed(instance_type: str, stage: DeployedStage) -> None:
    """Raises `FineTuningError` for a type that the stage's permissions would refuse when the job is to start."""
    if not any(fnmatchcase(instance_type, pattern) for pattern in stage.training_instance_types):
        raise FineTuningError(
            Code.INSTANCE_TYPE_UNSUPPORTED,
            f"The stage {stage.stage} does not train on {instance_type}: it allows "
            f"{', '.join(stage.training_instance_types)}.",
            "Choose another type, or add it to the stage's training_instance_types and deploy it again.",
            field="training.instance_type",
        )


def drop_fallback(instance_type: str, why: str, checklist: Checklist) -> None:
    """Says of a fallback that nobody asked for why it is not one."""
    checklist.passed(FALLBACKS, f"{instance_type} is left out: {why}")


def training_options(
    spec: ModelSpec,
    instance_types: Sequence[str],
    work: Workload,
    limits: Limits,
    prices: Mapping[str, Price],
    checklist: Checklist,
    *,
    chosen: bool,
) -> list[TrainingOption]:
    """An option per instance type; findings for hyperparameters, and for time and money that do not suffice.

    Of fallbacks that nobody has chosen those that do not suffice are left out, and the cheapest come first.
    """
    options = []
    found: set[Finding] = set()
    for position, instance_type in enumerate(instance_types):
        hyperparameters, findings = merge(spec, instance_type, work.task, work.hyperparameters)
        asked = hyperparameters.get("epoch", "")
        epochs = int(asked) if asked.isdecimal() else 1  # a model may have no such number
        price = prices.get(instance_type)
        predicted = estimate(spec.model_id, instance_type, work.tokens, work.tokens_from, epochs, price)
        seconds = min(int(limits.hours * 3600), spec.estimator_kwargs.max_run)
        limits_broken = list(_limit_findings(predicted, seconds, limits.usd, instance_type, fallback=position > 0))
        if price and limits.usd is not None:
            seconds = min(seconds, math.floor(limits.usd / price.usd_per_hour * 3600))
        new = [finding for finding in findings if finding not in found]
        if position and not chosen and (new or limits_broken):
            drop_fallback(instance_type, [*new, *limits_broken][0].message, checklist)
            continue
        options.append(
            TrainingOption(
                instance_type=instance_type,
                hyperparameters=hyperparameters,
                max_runtime_seconds=max(seconds, 1),
                estimate=predicted,
                price=price,
            )
        )
        checklist.found("hyperparameters", *new)
        checklist.found("time and cost", *limits_broken)
        found |= set(findings)
        if not limits_broken:
            checklist.passed(
                "time and cost", f"{instance_type}: {_in_words(predicted)}; stopped after {seconds / 3600:.1f} h"
            )
    if not found:
        checklist.passed(
            "hyperparameters",
            f"{len(options[0].hyperparameters)} settled, {len(work.hyperparameters)} of them asked for",
        )
    if not chosen:
        options = [options[0], *sorted(options[1:], key=_by_price)[:MAX_FALLBACKS]]
    checklist.passed("training instance", ", then ".join(option.instance_type for option in options))
    return options


def _by_price(option: TrainingOption) -> tuple[float, float]:
    """What the training is predicted to cost; where that is not known, last, and by the hour."""
    predicted = option.estimate
    return (
        math.inf if predicted.usd is None else predicted.usd,
        math.inf if predicted.usd_per_hour is None else predicted.usd_per_hour,
    )


def _limit_findings(
    predicted: Estimate, seconds: int, budget: float | None, instance_type: str, *, fallback: bool
) -> Iterator[Finding]:
    """A job that would be cut before it ends leaves no model: better refused than started."""
    where = "training.fallback_instance_types" if fallback else "training.max_cost_usd"
    if budget is not None and predicted.usd_per_hour is None:
        yield Finding(
            Code.PRICE_UNKNOWN,
            where,
            f"The budget of {budget:.2f} USD cannot be kept: no price of {instance_type} is known.",
            "Choose another training.instance_type, or leave training.max_cost_usd out.",
        )
    elif budget is not None and predicted.usd is not None and predicted.usd > budget:
        yield Finding(
            Code.OVER_BUDGET,
            where,
            f"Training on {instance_type} is predicted to cost {predicted.usd:.2f} USD, more than the budget of "
            f"{budget:.2f} USD ({_in_words(predicted)}).",
            "Raise training.max_cost_usd, train fewer epochs or rows, or choose a cheaper training.instance_type.",
        )
    if predicted.seconds is not None and predicted.seconds > seconds:
        yield Finding(
            Code.OUT_OF_TIME,
            "training.fallback_instance_types" if fallback else "training.max_runtime_hours",
            f"Training on {instance_type} is predicted to take {predicted.seconds / 3600:.1f} hours and would be "
            f"stopped after {seconds / 3600:.1f}, without a model.",
            "Raise training.max_runtime_hours, train fewer epochs or rows, or choose a faster training.instance_type.",
        )


def _in_words(predicted: Estimate) -> str:
    about = "about" if predicted.tokens is not None else "at least"
    hours = "unknown time" if predicted.seconds is None else f"{about} {predicted.seconds / 3600:.1f} h"
    usd = "unknown cost" if predicted.usd is None else f"{about} {predicted.usd:.2f} USD"
    return f"{hours}, {usd}, assuming {'; '.join(predicted.assumptions)}"
