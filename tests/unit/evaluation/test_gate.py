import pytest

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.gate import require_no_worse
from finetuning.evaluation.results import Comparison, EvaluationReport
from tests.builders.runs import any_evaluation

DEPLOY = "finetune deploy pirate-0a1b2c3d --stage prod"


def scoring(tuned: float, base: float) -> EvaluationReport:
    report = any_evaluation()
    comparison = Comparison(prompts=3, tuned=tuned, base=base, better=1, worse=2)
    return report.model_copy(update={"summary": report.summary.model_copy(update={"comparison": comparison})})


def rejection(report: EvaluationReport) -> Code | None:
    """The code with which the model is rejected; None if it may be deployed."""
    try:
        require_no_worse(report, DEPLOY)
    except EndpointFailed as failure:
        return failure.code
    return None


@pytest.mark.parametrize("tuned", [0.29, 0.3, 0.9])
def test_a_model_as_good_as_the_base_model_passes(tuned: float) -> None:
    assert rejection(scoring(tuned, 0.3)) is None
    assert rejection(scoring(tuned - 0.2, 0.3 + tuned)) is Code.EVALUATION_BELOW_BASE


def test_a_worse_model_is_rejected_with_the_scores() -> None:
    with pytest.raises(EndpointFailed, match=r"0\.20.*0\.30") as failure:
        require_no_worse(scoring(0.2, 0.3), DEPLOY)
    assert DEPLOY in failure.value.fix
    assert failure.value.code == Code.EVALUATION_BELOW_BASE


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (slice(0), "the base model was not available"),
        (slice(1, 2), "no prompt has a reference answer"),
        (slice(2), "no prompt with a reference was answered by both models"),
    ],
)
def test_without_a_comparison_nothing_is_deployed(rows: slice, why: str) -> None:
    report = any_evaluation()
    summary = report.summary.model_copy(update={"comparison": None})
    with pytest.raises(EndpointFailed, match=why) as failure:
        require_no_worse(report.model_copy(update={"rows": report.rows[rows], "summary": summary}), DEPLOY)
    assert DEPLOY in failure.value.fix
    assert failure.value.code == Code.EVALUATION_INCONCLUSIVE
