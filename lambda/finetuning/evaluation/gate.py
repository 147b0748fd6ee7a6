"""The gate of `must_beat_base`: a tuned model that is worse than the base model is not deployed."""

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import held_out_prompts


def require_no_worse(report: EvaluationReport, deploy: str) -> None:
    """Raises `EndpointFailed`: EVALUATION_BELOW_BASE, or EVALUATION_INCONCLUSIVE if there is nothing to compare.

    `deploy` is the command that deploys the run's model.
    """
    comparison = report.summary.comparison
    kept = f"No live endpoint was changed, and the tuned model is kept. To deploy it anyway: {deploy}"
    if comparison is None:
        raise EndpointFailed(
            Code.EVALUATION_INCONCLUSIVE,
            f"Cannot compare the tuned model with the base model: {_missing(report)}",
            kept,
        )
    if comparison.outcome == "worse":
        raise EndpointFailed(
            Code.EVALUATION_BELOW_BASE,
            f"The tuned model is worse than the base model: "
            f"ROUGE-L {comparison.tuned:.3f}, base {comparison.base:.3f}, "
            f"worse on {comparison.worse} of {held_out_prompts(comparison.prompts)}.",
            f"Read the answers in the report. More rows or another learning_rate may help. {kept}",
        )


def _missing(report: EvaluationReport) -> str:
    if not report.has_base:
        return "the base model was not available."
    if not report.has_references:
        return "no prompt has a reference answer."
    return "no prompt with a reference was answered by both models."
