"""The instance types a run may train on, each with its hyperparameters, limits and estimate."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.requests import request_key
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.estimate import estimate, what_fits
from finetuning.runs.plan import Estimate, Measurement, TrainingOption
from finetuning.runs.run_json import MAX_FALLBACKS, RunRequest
from finetuning.settings import DeployedStage

FALLBACKS = "fallbacks"
"""The check that lists the fallback types that are not used."""


@dataclass(frozen=True)
class Limits:
    """Limits on a training: hours, and USD if there is a budget."""

    hours: float
    usd: float | None


@dataclass(frozen=True)
class Workload:
    """What is trained. `tokens`: of one epoch, None if unknown; `tokens_from`: how they were counted; `measured`: what
    earlier runs of the model took, by instance type.
    """

    task: Task | None
    hyperparameters: Mapping[str, Any]
    tokens: int | None
    tokens_from: str
    measured: Mapping[str, Measurement] = field(default_factory=dict)


def training_limits(request: RunRequest, stage: DeployedStage, checklist: Checklist) -> Limits:
    """The smaller limits of run.json and the stage. A larger limit in run.json is a finding."""
    hours, usd = request.training.max_runtime_hours, request.training.max_cost_usd
    if hours is not None and hours > stage.max_runtime_hours:
        checklist.found(
            "time and cost",
            Finding(
                Code.OUT_OF_TIME,
                "training.max_runtime_hours",
                f"{hours:g} hours exceed the limit of the stage {stage.stage}, {stage.max_runtime_hours:g} hours.",
                "Set a lower value, or deploy the stage with a higher limit.",
            ),
        )
    if usd is not None and stage.max_cost_usd is not None and usd > stage.max_cost_usd:
        checklist.found(
            "time and cost",
            Finding(
                Code.OVER_BUDGET,
                "training.max_cost_usd",
                f"{usd:.2f} USD exceed the limit of the stage {stage.stage}, {stage.max_cost_usd:.2f} USD.",
                "Set a lower value, or deploy the stage with a higher limit.",
            ),
        )
    budgets = [budget for budget in (usd, stage.max_cost_usd) if budget is not None]
    return Limits(min(hours or stage.max_runtime_hours, stage.max_runtime_hours), min(budgets, default=None))


def trainable_types(
    instance_types: list[str], spec: ModelSpec, stage: DeployedStage, checklist: Checklist, *, chosen: bool
) -> list[str]:
    """The types on which the stage can train the model; the model's default type if there is none.

    Any other type is a finding if run.json names it (`chosen`), or the first one; otherwise it is just not used.
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
    """Raises `FineTuningError` for a type that the stage's IAM permissions do not allow."""
    if not any(fnmatchcase(instance_type, pattern) for pattern in stage.training_instance_types):
        raise FineTuningError(
            Code.INSTANCE_TYPE_UNSUPPORTED,
            f"The stage {stage.stage} does not allow training on {instance_type}, only on "
            f"{', '.join(stage.training_instance_types)}.",
            "Choose another type, or add it to the stage's training_instance_types and deploy the stage.",
            field="training.instance_type",
        )


def drop_fallback(instance_type: str, why: str, checklist: Checklist) -> None:
    """Records why a fallback type that run.json does not name is not used."""
    checklist.passed(FALLBACKS, f"{instance_type} is not used: {why}")


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
    """An option per instance type, with findings for its hyperparameters and for limits that its estimate exceeds.

    If run.json does not name the fallbacks (`chosen`), those with findings are not used, and the cheapest come first.
    """
    options = []
    found: set[Finding] = set()
    model, longest = support(spec.model_id), min(int(limits.hours * 3600), spec.estimator_kwargs.max_run)
    merged = {each: merge(spec, each, work.task, work.hyperparameters) for each in instance_types}
    estimates = {
        each: estimate(
            model, each, work.tokens, work.tokens_from, hyperparameters, prices.get(each), work.measured.get(each)
        )
        for each, (hyperparameters, _) in merged.items()
    }
    fitting = {
        each: predicted
        for each, predicted in estimates.items()
        if predicted.seconds and not any(_limit_findings(predicted, longest, limits.usd, each, {}, fallback=False))
    }
    for position, instance_type in enumerate(instance_types):
        (hyperparameters, findings), predicted = merged[instance_type], estimates[instance_type]
        price, seconds = prices.get(instance_type), longest
        exceeded = list(_limit_findings(predicted, seconds, limits.usd, instance_type, fitting, fallback=position > 0))
        if price and limits.usd is not None:
            seconds = min(seconds, math.floor(limits.usd / price.usd_per_hour * 3600))
        new = [finding for finding in findings if finding not in found]
        if position and not chosen and (new or exceeded):
            drop_fallback(instance_type, [*new, *exceeded][0].message, checklist)
            continue
        options.append(
            TrainingOption(
                instance_type=instance_type,
                request_key=request_key(spec, instance_type, hyperparameters),
                hyperparameters=hyperparameters,
                max_runtime_seconds=max(seconds, 1),
                estimate=predicted,
                price=price,
                measured=work.measured.get(instance_type),
            )
        )
        checklist.found("hyperparameters", *new)
        checklist.found("time and cost", *exceeded)
        found |= set(findings)
        if not exceeded:
            checklist.passed(
                "time and cost", f"{instance_type}: {_in_words(predicted)}; stopped after {seconds / 3600:.1f} h"
            )
    if not found:
        checklist.passed(
            "hyperparameters",
            f"{len(options[0].hyperparameters)} hyperparameters, {len(work.hyperparameters)} set by you",
        )
    if not chosen:
        options = [options[0], *sorted(options[1:], key=_by_price)[:MAX_FALLBACKS]]
    checklist.passed("training instance", ", then ".join(option.instance_type for option in options))
    return options


def _by_price(option: TrainingOption) -> tuple[float, float]:
    """The estimated cost; options of unknown cost come last, in the order of their hourly price."""
    predicted = option.estimate
    return (
        math.inf if predicted.usd is None else predicted.usd,
        math.inf if predicted.usd_per_hour is None else predicted.usd_per_hour,
    )


def _limit_findings(
    predicted: Estimate,
    seconds: int,
    budget: float | None,
    instance_type: str,
    fitting: Mapping[str, Estimate],
    *,
    fallback: bool,
) -> Iterator[Finding]:
    """A job that reaches a limit is stopped and leaves no model, so an estimate above a limit is a finding. `fitting`:
    the types on which the training stays within the limits.
    """
    hourly = predicted.usd_per_hour
    allowed = min(seconds, math.inf if budget is None or hourly is None else budget / hourly * 3600)
    fits = what_fits(predicted, allowed, fitting)
    where = "training.fallback_instance_types" if fallback else "training.max_cost_usd"
    if budget is not None and predicted.usd_per_hour is None:
        yield Finding(
            Code.PRICE_UNKNOWN,
            where,
            f"The budget of {budget:.2f} USD cannot be checked: the price of {instance_type} is unknown.",
            "Choose another training.instance_type, or remove training.max_cost_usd.",
        )
    elif budget is not None and predicted.usd is not None and predicted.usd > budget:
        yield Finding(
            Code.OVER_BUDGET,
            where,
            f"Training on {instance_type} is estimated to cost {predicted.usd:.2f} USD, more than the budget of "
            f"{budget:.2f} USD ({_in_words(predicted)}).",
            f"{fits}Or raise training.max_cost_usd." if fits else "Raise training.max_cost_usd.",
        )
    if predicted.seconds is not None and predicted.seconds > seconds:
        yield Finding(
            Code.OUT_OF_TIME,
            "training.fallback_instance_types" if fallback else "training.max_runtime_hours",
            f"Training on {instance_type} is estimated to take {predicted.seconds / 3600:.1f} hours, but would be "
            f"stopped after {seconds / 3600:.1f} hours, without a model.",
            f"{fits}Or raise training.max_runtime_hours." if fits else "Raise training.max_runtime_hours.",
        )


def _in_words(predicted: Estimate) -> str:
    about = "about" if predicted.tokens is not None else "at least"
    hours = "unknown time" if predicted.seconds is None else f"{about} {predicted.seconds / 3600:.1f} h"
    usd = "unknown cost" if predicted.usd is None else f"{about} {predicted.usd:.2f} USD"
    return f"{hours}, {usd}, assuming {'; '.join(predicted.assumptions)}"
