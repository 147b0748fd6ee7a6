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


REFERENCED = Question(shown="Why?", inputs="Why?", source="held-out", reference="because of the moon")
OWN = Question(shown="Hi", inputs="Hi", source="run.json")


def answers(inputs: str) -> Reply:
    return Reply("because of the moon", 100)


def fails(inputs: str) -> Reply:
    return Reply("", 5, error="ModelError: gone")


def test_without_the_base_model_nothing_is_said_to_have_helped() -> None:
    said = verdict(evaluate([REFERENCED, OWN], answers))
    assert (
        said == "Tuned answers resemble their references by ROUGE-L 1.00 (of 1) over 1 prompt held out from training."
    )


def test_without_references_the_reader_is_told_to_judge() -> None:
    told = "No prompt had a reference: whether they are better is for a reader to say."
    assert verdict(evaluate([OWN], answers, answers)) == f"0 of 1 answers differ from the base model's. {told}"
    assert verdict(evaluate([OWN], answers)) == told


def test_prompts_that_had_a_reference_and_no_answer_are_not_said_to_have_none() -> None:
    broken = " 1 of 1 tuned answers are broken."
    assert verdict(evaluate([REFERENCED], fails)) == "No prompt with a reference was answered." + broken
    unpaired = "No prompt with a reference was answered by both models."
    assert verdict(evaluate([REFERENCED], fails, answers)) == unpaired + broken
    said = verdict(evaluate([REFERENCED], answers, fails))
    assert said.startswith(f"{unpaired} Tuned answers resemble their references by ROUGE-L 1.00")


def test_broken_answers_are_not_hidden_behind_a_score() -> None:
    assert "1 of 2 tuned answers are broken" in verdict(any_evaluation_with(problems=1))
