"""Whether a tuned model may take the place of what serves: it must be no worse than the base model."""

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.results import EvaluationReport


def require_no_worse(report: EvaluationReport, deploy: str) -> None:
    """Raises `EndpointFailed`: EVALUATION_BELOW_BASE, or EVALUATION_INCONCLUSIVE where there is nothing to compare.

    `deploy` is the command that deploys the run's model.
    """
    compared = report.summary.comparison
    kept = f"Nothing live was changed, and the tuned model is kept. To put it live all the same: {deploy}"
    if compared is None:
        raise EndpointFailed(
            Code.EVALUATION_INCONCLUSIVE,
            "Whether the tuned model beats the base model could not be told: " + _why_not(report),
            kept,
        )
    if compared.outcome == "worse":
        raise EndpointFailed(
            Code.EVALUATION_BELOW_BASE,
            f"The tuned model is worse than the base model: ROUGE-L {compared.tuned:.3f}, base {compared.base:.3f}, "
            f"over {compared.prompts} prompts; farther from the reference on {compared.worse} of them.",
            f"Read the answers in the report; more rows or another learning_rate may help. {kept}",
        )


def _why_not(report: EvaluationReport) -> str:
    if not report.has_base:
        return "the base model did not come up."
    if not report.has_references:
        return "no answer has a reference to compare with."
    return "no prompt with a reference was answered by both."
