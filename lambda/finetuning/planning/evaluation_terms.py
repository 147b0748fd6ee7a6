"""The evaluation of a run: how many prompts are asked, what that takes, and whether the base model is asked as well.

What evaluation costs is the time of the temporary endpoints, and the use of an imported model and of a judge. A live
endpoint is paid for by the hour in any case.
"""

import math

from finetuning.bedrock.prices import ImportPrice
from finetuning.jumpstart.assumptions import answer_speed, assumptions, endpoint_start
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.family import ModelSupport
from finetuning.planning.judge_terms import with_judge
from finetuning.planning.orders import TEMPORARY_TTL_HOURS
from finetuning.runs.asking_limits import ANSWER_SECONDS, ANSWER_TOKENS, BATCHES_AT_ONCE, CALLS_AT_ONCE
from finetuning.runs.endpoint_plan import EndpointPlan
from finetuning.runs.plan import DatasetSummary, EvaluationEstimate, EvaluationPlan, JudgePlan, RunPlan, TrainingPlan
from finetuning.runs.run_json import HELD_OUT, RunRequest
from finetuning.settings import SWEEP_MINUTES

SMALL_SHARE, SMALL_USD = 0.1, 2.0
"""Of the training's cost, and in USD: a comparison that costs no more than one of them is made by default."""


def evaluation_plan(
    request: RunRequest,
    model: ModelSupport,
    endpoint: EndpointPlan,
    training: TrainingPlan,
    judge: JudgePlan | None = None,
) -> EvaluationPlan:
    """The evaluation that run.json asks for. If it leaves the comparison open, the costs decide."""
    asked, deploy = request.evaluation, request.endpoint.deploy
    needed = bool(asked.must_beat_base or judge)
    by_cost = asked.compare_with_base is None and not needed
    compared = by_cost or asked.compare_with_base or needed
    plan = EvaluationPlan(
        held_out=asked.prompts if isinstance(asked.prompts, int) else HELD_OUT,
        prompts=asked.prompts if isinstance(asked.prompts, list) else [],
        compare_with_base=bool(deploy and compared),
        compared_by_cost=by_cost,
        must_beat_base=deploy and asked.must_beat_base,
        judge=judge,
        not_compared="" if compared else "compare_with_base is false in run.json",
    )
    return settled(plan, model, endpoint, training) if deploy else plan


def settled(
    plan: EvaluationPlan,
    model: ModelSupport,
    endpoint: EndpointPlan,
    training: TrainingPlan,
    dataset: DatasetSummary | None = None,
) -> EvaluationPlan:
    """The plan with its estimate, and without a comparison that nobody asked for if something speaks against it.

    `dataset`: None while it is not prepared. A comparison that was ruled out before does not come back: the account's
    quota was not checked for it.
    """
    held_out = plan.held_out if dataset is None else min(plan.held_out, dataset.test_rows + dataset.validation_rows)
    prompts = max(held_out + len(plan.prompts), 1)
    if plan.compared_by_cost:
        with_base = estimate(prompts, model, endpoint, temporary=1)
        reason = _objection(held_out, with_base, endpoint, training) or plan.not_compared
        plan = plan.model_copy(update={"compare_with_base": not reason, "not_compared": reason})
    candidate = plan.must_beat_base and endpoint.target == "sagemaker"  # an imported one costs nothing while it waits
    temporary = plan.compare_with_base + bool(candidate)
    known = estimate(prompts, model, endpoint, temporary=temporary)
    if plan.judge:
        known = with_judge(known, plan.judge, training, dataset)
    return plan.model_copy(update={"estimate": known})


def without_comparison(plan: RunPlan, reason: str) -> RunPlan:
    """The run's plan with the tuned model evaluated alone."""
    alone = plan.evaluation.model_copy(update={"compare_with_base": False, "not_compared": reason})
    evaluation = settled(alone, support(plan.model_id), plan.endpoint, plan.training)
    return plan.model_copy(update={"evaluation": evaluation})


def estimate(prompts: int, model: ModelSupport, endpoint: EndpointPlan, *, temporary: int) -> EvaluationEstimate:
    """What asking the prompts takes. `temporary`: how many endpoints stand for the evaluation alone."""
    speed = answer_speed(model.gigabytes, endpoint.instance_type)
    each = ANSWER_SECONDS if speed is None else min(ANSWER_TOKENS / speed, ANSWER_SECONDS)
    imported = endpoint.target == "bedrock"
    start = endpoint_start(model.parameters) if temporary or not imported else 0
    rounds = math.ceil(prompts / (CALLS_AT_ONCE * BATCHES_AT_ONCE))
    seconds = round(start + rounds * each)
    instances, hourly = temporary * endpoint.instance_count, endpoint.usd_per_hour
    prices = [hourly, *(other.usd_per_hour for other in endpoint.fallbacks)]
    known = [price for price in prices if price is not None]
    hours_at_most = TEMPORARY_TTL_HOURS + SWEEP_MINUTES / 60
    paid = endpoint.in_words if hourly is None else f"{hourly:.2f} USD per hour"
    source = f"assumed {assumptions().as_of}, not measured"
    price = endpoint.import_price if imported else None
    windows, most = (_windows(rounds * longest, price) for longest in (each, ANSWER_SECONDS))
    use = (
        f"{windows} windows of {price.window_minutes} minutes of the imported model, {price.usd_per_window:,.2f} USD "
        "each; that it answers as fast as the endpoint is assumed"
        if price
        else "unknown price of the imported model"
    )
    return EvaluationEstimate(
        prompts=prompts,
        temporary_endpoints=temporary,
        seconds=seconds,
        usd=None if hourly is None else round(instances * hourly * seconds / 3600, 2),
        hours_at_most=hours_at_most,
        usd_at_most=round(instances * max(known) * hours_at_most, 2) if len(known) == len(prices) else None,
        import_usd=round(windows * price.usd_per_window, 2) if price else None if imported else 0,
        import_usd_at_most=round(most * price.usd_per_window, 2) if price else None if imported else 0,
        assumptions=[
            f"{start:g} s until an endpoint serves ({source})" if start else "without the time of the import",
            f"{prompts:,} prompt{'' if prompts == 1 else 's'}, {CALLS_AT_ONCE * BATCHES_AT_ONCE} at a time, "
            + (
                f"{each:.3g} s for an answer of {ANSWER_TOKENS} tokens at {speed:.3g} tokens/s on "
                f"{endpoint.instance_type} ({source})"
                if speed is not None
                else f"{each:g} s for an answer, the longest that SageMaker allows"
            ),
            f"{temporary} temporary endpoint{'' if temporary == 1 else 's'} of {endpoint.instance_count} × {paid}"
            if temporary
            else "no temporary endpoint",
            *([use] if imported else []),
        ],
    )


def _windows(seconds: float, price: ImportPrice | None) -> int:
    """In which a copy of an imported model is billed: those in which it is asked, and one until it stops for lack of
    calls.
    """
    return math.ceil(seconds / 60 / price.window_minutes) + 1 if price else 0


def _objection(held_out: int, with_base: EvaluationEstimate, endpoint: EndpointPlan, training: TrainingPlan) -> str:
    """Why the base model is not asked unless run.json says so; "" if it is."""
    cost, budget = training.estimate.usd, training.max_cost_usd
    if not held_out:
        return "no held-out rows are asked, so there is nothing to compare"
    if with_base.usd is None:
        return f"the price of {endpoint.in_words} is not known"
    if with_base.usd > max(SMALL_SHARE * (cost or 0), SMALL_USD):
        whose = "" if cost is None else f" ({cost:,.2f} USD)"
        return (
            f"it would cost about {with_base.usd:,.2f} USD, more than {SMALL_USD:g} USD and more than a tenth of the "
            f"training{whose}"
        )
    together = None if cost is None or with_base.total_usd is None else cost + with_base.total_usd
    if together is not None and budget is not None and together > budget:
        return (
            f"training and comparison would cost about {together:,.2f} USD together, more than "
            f"max_cost_usd ({budget:,.2f} USD)"
        )
    return ""
