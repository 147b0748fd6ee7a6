import pytest

from finetuning.evaluation.comparison import Reply, evaluate
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import Comparison, EvaluationReport
from finetuning.evaluation.verdict import verdict
from tests.builders.runs import any_evaluation


def any_evaluation_with(**changes: object) -> EvaluationReport:
    evaluation = any_evaluation()
    return evaluation.model_copy(update={"summary": evaluation.summary.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("base", "tuned", "expected"),
    [
        (0.13, 0.53, "Tuning helped: ROUGE-L 0.13 → 0.53 (scale 0 to 1) on 1 held-out prompt;"),
        (0.53, 0.13, "Tuning made the answers worse: ROUGE-L 0.53 → 0.13"),
        (0.53, 0.54, "Tuning made no measurable difference"),
    ],
)
def test_the_verdict_follows_the_scores(base: float, tuned: float, expected: str) -> None:
    comparison = Comparison(prompts=1, tuned=tuned, base=base, better=int(tuned > base), worse=int(tuned < base))
    assert verdict(any_evaluation_with(comparison=comparison)).startswith(expected)


REFERENCED = Question(shown="Why?", inputs="Why?", source="held-out", reference="because of the moon")
OWN = Question(shown="Hi", inputs="Hi", source="run.json")


def answers(inputs: str) -> Reply:
    return Reply("because of the moon", 100)


def fails(inputs: str) -> Reply:
    return Reply("", 5, error="ModelError: unavailable")


def test_without_the_base_model_the_verdict_gives_the_score_only() -> None:
    expected = "ROUGE-L of the tuned model: 1.00 (scale 0 to 1) on 1 held-out prompt."
    assert verdict(evaluate([REFERENCED, OWN], answers)) == expected


def test_without_references_the_reader_has_to_judge() -> None:
    unscored = "No prompt has a reference answer, so there are no scores: read the answers."
    assert verdict(evaluate([OWN], answers, answers)) == f"0 of 1 answers differ from the base model's. {unscored}"
    assert verdict(evaluate([OWN], answers)) == unscored


def test_unanswered_prompts_are_not_reported_as_prompts_without_reference() -> None:
    unusable = " Tuned answers empty, repetitive or failed: 1 of 1."
    assert verdict(evaluate([REFERENCED], fails)) == "No prompt with a reference was answered." + unusable
    unpaired = "No prompt with a reference was answered by both models."
    assert verdict(evaluate([REFERENCED], fails, answers)) == unpaired + unusable
    assert verdict(evaluate([REFERENCED], answers, fails)).startswith(f"{unpaired} ROUGE-L of the tuned model: 1.00")


def test_unusable_answers_are_reported_beside_a_score() -> None:
    assert "Tuned answers empty, repetitive or failed: 1 of 2." in verdict(any_evaluation_with(problems=1))
