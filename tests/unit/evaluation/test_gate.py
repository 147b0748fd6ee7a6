from typing import Literal

import pytest

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.gate import require_gate
from finetuning.evaluation.results import Comparison, EvaluationReport
from tests.builders.runs import any_evaluation

DEPLOY = "finetune deploy pirate-0a1b2c3d --stage prod"


def differing(low: float, high: float) -> EvaluationReport:
    """A report whose mean difference lies between the bounds."""
    report = any_evaluation()
    gain = (low + high) / 2
    comparison = Comparison(prompts=40, tuned=0.5 + gain, base=0.5, low=low, high=high, better=1, worse=2)
    return report.model_copy(update={"summary": report.summary.model_copy(update={"comparison": comparison})})


def rejection(report: EvaluationReport, wanted: Literal[True, "helped"] = True) -> Code | None:
    """The code with which the model is rejected; None if it may be deployed."""
    try:
        require_gate(report, wanted, DEPLOY)
    except EndpointFailed as failure:
        return failure.code
    return None


@pytest.mark.parametrize(
    ("low", "high", "not_worse", "helped"),
    [
        (0.01, 0.2, None, None),
        (-0.01, 0.2, None, Code.EVALUATION_INCONCLUSIVE),
        (-0.2, 0.01, None, Code.EVALUATION_INCONCLUSIVE),
        (-0.2, -0.01, Code.EVALUATION_BELOW_BASE, Code.EVALUATION_BELOW_BASE),
    ],
)
def test_the_gate_goes_by_the_verdict(low: float, high: float, not_worse: Code | None, helped: Code | None) -> None:
    assert rejection(differing(low, high)) is not_worse
    assert rejection(differing(low, high), "helped") is helped


def test_a_worse_model_is_rejected_with_the_scores_and_their_interval() -> None:
    with pytest.raises(EndpointFailed, match=r"0\.50 → 0\.40.*-0\.15 to -0\.05") as failure:
        require_gate(differing(-0.15, -0.05), True, DEPLOY)
    assert DEPLOY in failure.value.fix


def test_without_a_comparison_nothing_is_deployed() -> None:
    report = any_evaluation()
    alone = report.model_copy(update={"summary": report.summary.model_copy(update={"comparison": None})})
    assert rejection(alone) is rejection(alone, "helped") is Code.EVALUATION_INCONCLUSIVE
