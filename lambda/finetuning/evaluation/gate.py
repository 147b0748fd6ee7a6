"""The gate of `must_beat_base`: a tuned model that is worse than the base model is not deployed."""

from typing import Literal

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import verdict
from finetuning.runs.status import Verdict


def require_gate(report: EvaluationReport, wanted: Literal[True, "helped"], deploy: str) -> None:
    """Raises `EndpointFailed`: EVALUATION_BELOW_BASE for a worse model, EVALUATION_INCONCLUSIVE if the models were not
    compared, or if the model must have helped (`wanted`) and made no measurable change.

    `deploy` is the command that deploys the run's model.
    """
    kept = f"No live endpoint was changed, and the tuned model is kept. To deploy it anyway: {deploy}"
    if report.verdict is Verdict.WORSE:
        advice = "Read the answers in the report. More rows or another learning_rate may help."
        raise EndpointFailed(Code.EVALUATION_BELOW_BASE, verdict(report), f"{advice} {kept}")
    if report.verdict is Verdict.NOT_COMPARED:
        raise EndpointFailed(Code.EVALUATION_INCONCLUSIVE, verdict(report), kept)
    if wanted == "helped" and report.verdict is not Verdict.HELPED:
        advice = 'evaluation.must_beat_base is "helped". More held-out rows show smaller differences.'
        raise EndpointFailed(Code.EVALUATION_INCONCLUSIVE, verdict(report), f"{advice} {kept}")
