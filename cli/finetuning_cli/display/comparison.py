"""What the evaluation of a plan takes and costs: the endpoints that stand for it alone."""

from collections.abc import Iterator
from datetime import timedelta

from finetuning.planning.evaluation_terms import SMALL_USD
from finetuning.runs.plan import EvaluationPlan, RunPlan
from finetuning_cli.display.text import rounded


def comparison_in_words(plan: RunPlan) -> str:
    """`the comparison about 13 min and 0.45 USD, at worst 6.60; `, or "" if no endpoint stands for it alone and no
    model is paid by use.
    """
    known = plan.evaluation.estimate
    if known is None or not (known.temporary_endpoints or plan.endpoint.target == "bedrock"):
        return ""
    cost = "an unknown cost" if known.total_usd is None else f"{known.total_usd:,.2f} USD"
    at_worst = "" if known.total_usd_at_most is None else f", at worst {known.total_usd_at_most:,.2f}"
    what = "comparison" if plan.evaluation.compare_with_base else "evaluation"
    return f"the {what} about {rounded(timedelta(seconds=known.seconds))} and {cost}{at_worst}; "


def evaluation_footnotes(evaluation: EvaluationPlan) -> Iterator[str]:
    """What the figures assume, and why the base model is asked or not, if run.json does not say."""
    known = evaluation.estimate
    if known is None:
        return
    yield f"Evaluation: {'; '.join(known.assumptions)}."
    if not evaluation.compared_by_cost:
        return
    if evaluation.not_compared:
        yield (
            f"The base model is not asked: {evaluation.not_compared.removesuffix('.')}. "
            'To ask it anyway, set "evaluation": {"compare_with_base": true} in run.json.'
        )
    else:
        yield (
            "The base model is asked as well, because that costs at most a tenth of the training or "
            f'{SMALL_USD:g} USD. To skip it, set "evaluation": {{"compare_with_base": false}} in run.json.'
        )
