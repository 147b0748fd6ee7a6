"""Whether a tuned model may take the place of what serves: it must be no worse than the base model."""

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.report import EvaluationReport

KEPT = "Nothing live was changed, and the tuned model is kept: `finetune deploy RUN` puts it live all the same."


def require_no_worse(report: EvaluationReport) -> None:
    """Raises `EndpointFailed`: EVALUATION_BELOW_BASE, or EVALUATION_INCONCLUSIVE where there is nothing to compare."""
    tuned, base = report.summary.tuned, report.summary.base
    if tuned is None or base is None:
        raise EndpointFailed(
            Code.EVALUATION_INCONCLUSIVE,
            "Whether the tuned model beats the base model could not be told: "
            + ("the base model did not come up." if base is None else "no answer has a reference to compare with."),
            f"Upload again to try once more. {KEPT}",
        )
    if tuned.rouge_l < base.rouge_l:
        raise EndpointFailed(
            Code.EVALUATION_BELOW_BASE,
            f"The tuned model is worse than the base model: ROUGE-L {tuned.rouge_l:.3f}, base {base.rouge_l:.3f}.",
            f"Read the answers in the report; more rows or another learning_rate may help. {KEPT}",
        )
