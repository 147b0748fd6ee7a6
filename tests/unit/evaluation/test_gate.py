import pytest

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.gate import require_no_worse
from finetuning.evaluation.report import EvaluationReport
from tests.runs import any_evaluation


def scoring(tuned: float | None, base: float | None) -> EvaluationReport:
    report = any_evaluation()
    assert report.summary.tuned is not None
    scores = {
        name: None if value is None else report.summary.tuned.model_copy(update={"rouge_l": value})
        for name, value in (("tuned", tuned), ("base", base))
    }
    return report.model_copy(update={"summary": report.summary.model_copy(update=scores)})


@pytest.mark.parametrize("tuned", [0.3, 0.9])
def test_a_model_as_good_as_the_base_model_passes(tuned: float) -> None:
    require_no_worse(scoring(tuned, 0.3))


def test_a_worse_model_is_refused_with_the_scores() -> None:
    with pytest.raises(EndpointFailed, match=r"0\.20.*0\.30") as refused:
        require_no_worse(scoring(0.2, 0.3))
    assert refused.value.code == Code.EVALUATION_BELOW_BASE


@pytest.mark.parametrize(("tuned", "base"), [(0.9, None), (None, None)])
def test_without_a_comparison_nothing_goes_live(tuned: float | None, base: float | None) -> None:
    with pytest.raises(EndpointFailed) as refused:
        require_no_worse(scoring(tuned, base))
    assert refused.value.code == Code.EVALUATION_INCONCLUSIVE
