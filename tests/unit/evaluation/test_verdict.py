import pytest

from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import Comparison, EvaluationReport
from finetuning.evaluation.verdict import headline, verdict
from tests.builders.answers import evaluated
from tests.builders.runs import any_evaluation


def any_evaluation_with(**changes: object) -> EvaluationReport:
    evaluation = any_evaluation()
    return evaluation.model_copy(update={"summary": evaluation.summary.model_copy(update=changes)})


def compared(low: float | None, high: float | None, *, prompts: int = 40, needed: int = 90) -> Comparison:
    return Comparison(
        prompts=prompts, tuned=0.53, base=0.13, low=low, high=high, prompts_for_5_points=needed, better=30, worse=8
    )


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            compared(0.31, 0.48),
            "Tuning helped: ROUGE-L 0.13 → 0.53 (scale 0 to 1) on 40 held-out prompts; better on 30, worse on 8; "
            "mean difference +0.40, 95 % interval +0.31 to +0.48.",
        ),
        (
            compared(-0.04, 0.84),
            "Tuning made no measurable change: ROUGE-L 0.13 → 0.53 (scale 0 to 1) on 40 held-out prompts; better on "
            "30, worse on 8; mean difference +0.40, 95 % interval -0.04 to +0.84. "
            "About 90 prompts would show a difference of 0.05.",
        ),
        (
            compared(None, None, prompts=1),
            "Too few prompts to tell whether tuning helped: ROUGE-L 0.13 → 0.53 (scale 0 to 1) on 1 held-out prompt; "
            "better on 30, worse on 8. It takes at least 8 prompts.",
        ),
    ],
)
def test_the_verdict_gives_its_numbers(comparison: Comparison, expected: str) -> None:
    assert verdict(any_evaluation_with(comparison=comparison)) == expected


def test_enough_prompts_are_not_asked_to_be_more() -> None:
    assert "would show" not in verdict(any_evaluation_with(comparison=compared(-0.02, 0.02, needed=40)))


def test_the_headline_has_the_one_number() -> None:
    assert headline(any_evaluation_with(comparison=compared(0.31, 0.48))) == "Tuning helped: ROUGE-L 0.13 → 0.53"
    few = any_evaluation_with(comparison=compared(None, None, prompts=1))
    assert headline(few) == "Too few prompts to tell whether tuning helped: ROUGE-L 0.13 → 0.53"
    assert headline(any_evaluation_with(comparison=None)) == "Tuned and base model were not compared"


def test_a_broken_model_is_called_so_whatever_its_scores() -> None:
    report = any_evaluation_with(comparison=compared(0.31, 0.48), problems=2).model_copy(update={"ok": False})
    assert verdict(report) == "The tuned model is broken: 2 of 2 tuned answers are unusable."
    assert headline(report) == "The tuned model is broken: 2 of 2 answers are unusable"


REFERENCED = Question(shown="Why?", inputs="Why?", source="held-out", reference="because of the moon")
OWN = Question(shown="Hi", inputs="Hi", source="run.json")


def answers(inputs: str) -> Reply:
    return Reply("because of the moon", 100)


def fails(inputs: str) -> Reply:
    return Reply("", 5, error="ModelError: unavailable")


NOT_COMPARED = "Tuned and base model were not compared:"


def test_without_the_base_model_the_verdict_gives_the_score_only() -> None:
    expected = f"{NOT_COMPARED} the base model was not asked. ROUGE-L of the tuned model: 1.00 on 1 held-out prompt."
    assert verdict(evaluated([REFERENCED, OWN], answers)) == expected


def test_without_references_the_reader_has_to_judge() -> None:
    unscored = f"{NOT_COMPARED} no prompt has a reference answer."
    assert verdict(evaluated([OWN], answers, answers)) == f"{unscored} 0 of 1 answers differ. Read the answers."
    assert verdict(evaluated([OWN], answers)) == f"{unscored} Read the answers."


def test_unanswered_prompts_are_not_reported_as_prompts_without_reference() -> None:
    unpaired = f"{NOT_COMPARED} no prompt with a reference was answered by both models."
    assert verdict(evaluated([REFERENCED], answers, fails)).startswith(f"{unpaired} ROUGE-L of the tuned model: 1.00")
    asked = [REFERENCED, OWN, OWN]
    replies = iter([fails(""), answers(""), answers("")])
    alone = verdict(evaluated(asked, lambda _: next(replies)))
    assert alone == f"{NOT_COMPARED} no prompt with a reference was answered. 1 of 3 tuned answers are unusable."


def test_unusable_answers_are_reported_beside_a_score() -> None:
    assert "1 of 2 tuned answers are unusable." in verdict(any_evaluation_with(problems=1))
