import pytest

from finetuning.evaluation.report import Comparison, EvaluationReport
from finetuning.evaluation.verdict import verdict
from tests.runs import any_evaluation


def any_evaluation_with(**changes: object) -> EvaluationReport:
    evaluation = any_evaluation()
    return evaluation.model_copy(update={"summary": evaluation.summary.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("base", "tuned", "said"),
    [
        (0.13, 0.53, "Tuning helped: ROUGE-L 0.13 → 0.53 (of 1) over 1 prompt held out"),
        (0.53, 0.13, "Tuning made the answers worse: ROUGE-L 0.53 → 0.13"),
        (0.53, 0.54, "Tuning made no difference that the scores show"),
    ],
)
def test_the_verdict_follows_the_scores(base: float, tuned: float, said: str) -> None:
    comparison = Comparison(prompts=1, tuned=tuned, base=base, better=int(tuned > base), worse=int(tuned < base))
    assert verdict(any_evaluation_with(comparison=comparison)).startswith(said)


def test_without_the_base_model_nothing_is_said_to_have_helped() -> None:
    said = verdict(any_evaluation_with(base=None, comparison=None))
    assert "helped" not in said
    assert "ROUGE-L 0.53" in said


def test_without_references_the_reader_is_told_to_judge() -> None:
    assert verdict(any_evaluation_with(tuned=None, base=None, comparison=None)).startswith("2 of 2 answers differ")
    assert "for a reader" in verdict(any_evaluation_with(tuned=None, base=None, comparison=None, changed=None))


def test_broken_answers_are_not_hidden_behind_a_score() -> None:
    assert "1 of 2 tuned answers are broken" in verdict(any_evaluation_with(problems=1))
