import pytest

from finetuning.evaluation.comparison import Reply, evaluate
from finetuning.evaluation.intervals import MIN_PROMPTS
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import EvaluationReport, LabelScore, Scores
from finetuning.runs.status import Verdict
from tests.builders.answers import answering, evaluated, failing, in_turn


def any_question(**changes: str) -> Question:
    return Question.model_validate(
        {"shown": "Why?", "inputs": "rendered why", "source": "held-out", "reference": "because of the moon"} | changes
    )


def test_both_models_are_scored_against_the_same_reference() -> None:
    report = evaluated([any_question()], answering("because of the moon"), answering("no idea"))
    (row,) = report.rows
    assert row.base
    assert row.base.scores
    assert row.tuned.scores
    assert (row.tuned.scores.rouge_l, row.base.scores.rouge_l) == (1.0, 0.0)
    assert report.summary.changed == 1


def test_only_prompts_that_the_base_model_was_asked_are_compared() -> None:
    tuned = dict.fromkeys(range(3), Reply("because of the moon", 100))
    report = evaluate([any_question()] * 3, tuned, {1: Reply("no idea", 100)})
    assert [row.base is None for row in report.rows] == [True, False, True]
    assert report.summary.comparison
    assert report.summary.comparison.prompts == 1


def test_a_prompt_without_an_answer_of_the_tuned_model_is_an_error_in_the_report() -> None:
    report = evaluate([any_question()] * 2, {1: Reply("because of the moon", 100)})
    assert [row.tuned.problem for row in report.rows] == ["error", None]


def test_an_answer_without_a_reference_has_no_scores() -> None:
    question = Question(shown="Hi", inputs="Hi", source="run.json")
    report = evaluated([question], answering("Hello there"))
    assert report.rows[0].tuned.scores is None
    assert report.summary.tuned is None


def test_one_unusable_answer_of_two_is_reported_and_still_passes() -> None:
    report = evaluated([any_question()] * 2, in_turn("because", ""))
    assert report.ok
    assert [check.check for check in report.checks if check.ok is False] == ["No empty answers"]
    assert report.checks[1].message == "1 of 2 answers empty: number 2"


def test_an_endpoint_with_mostly_unusable_answers_fails() -> None:
    report = evaluated([any_question()] * 3, in_turn("", "la " * 40, "because of the moon"))
    assert not report.ok
    assert report.summary.problems == 2


def test_an_endpoint_that_returns_only_errors_fails_and_its_message_is_kept() -> None:
    report = evaluated([any_question()], failing("ModelError: CUDA out of memory"))
    assert not report.ok
    assert report.rows[0].tuned.problem == "error"
    assert report.rows[0].tuned.text == "ModelError: CUDA out of memory"


def test_errors_of_the_base_model_do_not_fail_the_tuned_model() -> None:
    report = evaluated([any_question()], answering("because of the moon"), failing("unavailable"))
    assert report.ok
    assert report.summary.base is None


def test_base_and_tuned_are_compared_prompt_by_prompt() -> None:
    report = evaluated([any_question()] * 2, in_turn("because of the moon", "no idea"), in_turn("because", "no idea"))
    comparison = report.summary.comparison
    assert comparison
    assert (comparison.prompts, comparison.tuned, comparison.base) == (2, 0.5, 0.2)
    assert (comparison.better, comparison.worse, comparison.gain) == (1, 0, 0.3)


@pytest.mark.parametrize(
    ("tuned", "base", "outcome"),
    [
        ("because of the moon", "no idea", Verdict.HELPED),
        ("no idea", "because of the moon", Verdict.WORSE),
        ("because of the moon", "because of the moon", Verdict.NO_CHANGE),
    ],
)
def test_a_difference_on_every_prompt_counts(tuned: str, base: str, outcome: Verdict) -> None:
    assert evaluated([any_question()] * MIN_PROMPTS, answering(tuned), answering(base)).verdict is outcome


def test_a_difference_on_few_prompts_counts_as_no_change() -> None:
    report = evaluated([any_question()] * (MIN_PROMPTS - 1), answering("because of the moon"), answering("no idea"))
    assert report.verdict is Verdict.NO_CHANGE
    assert report.summary.comparison
    assert report.summary.comparison.low is None


def test_one_good_answer_among_many_equal_ones_counts_as_no_change() -> None:
    tuned = in_turn("because of the moon", *["no idea"] * 19)
    report = evaluated([any_question()] * 20, tuned, answering("no idea"))
    assert report.verdict is Verdict.NO_CHANGE
    assert report.summary.comparison
    assert report.summary.comparison.gain == 0.05


def test_labels_are_compared_by_accuracy_and_counted_by_class() -> None:
    asked = [any_question(reference=label) for label in ("spam", "spam", "spam", "ham")] * 3
    report = evaluated(asked, answering("Spam."), answering("ham"))
    assert report.summary.comparison
    assert report.summary.comparison.measure == "accuracy"
    assert (report.summary.comparison.tuned, report.summary.comparison.base) == (0.75, 0.25)
    assert report.summary.labels == [
        LabelScore(label="spam", prompts=9, tuned=1.0, base=0.0),
        LabelScore(label="ham", prompts=3, tuned=0.0, base=1.0),
    ]


def test_json_answers_are_compared_by_their_fields() -> None:
    asked = [any_question(reference='{"city": "Oslo", "days": 3}')] * MIN_PROMPTS
    report = evaluated(asked, answering('{"city": "Oslo", "days": 2}'), answering("Oslo for 3 days"))
    assert report.summary.comparison
    assert report.summary.comparison.measure == "JSON fields"
    assert (report.summary.comparison.tuned, report.summary.comparison.base) == (0.5, 0.0)
    assert report.summary.tuned
    assert report.summary.tuned.json_fields == 0.5
    assert report.verdict is Verdict.HELPED


def test_mostly_unusable_answers_are_broken_whatever_their_scores() -> None:
    report = evaluated([any_question()] * 3, in_turn("", "la " * 40, "because of the moon"), answering("no idea"))
    assert report.verdict is Verdict.BROKEN


def test_without_a_base_model_the_models_are_not_compared() -> None:
    assert evaluated([any_question()], answering("because of the moon")).verdict is Verdict.NOT_COMPARED


def test_only_prompts_that_both_answered_are_compared() -> None:
    base = iter([Reply("", 5, error="unavailable"), Reply("because of the moon", 100)])
    report = evaluated([any_question()] * 2, in_turn("no idea", "because of the moon"), lambda _: next(base))
    assert report.summary.comparison
    assert (report.summary.comparison.prompts, report.summary.comparison.gain) == (1, 0)


def test_the_means_are_over_compared_prompts_or_over_all_scored_ones_without_a_comparison() -> None:
    base = iter([Reply("", 5, error="unavailable"), Reply("because of the moon", 100), Reply("Hello", 100)])
    prompts = [any_question(), any_question(), Question(shown="Hi", inputs="Hi", source="run.json")]
    tuned = in_turn("no idea", "because of the moon", "Hi")
    summary = evaluated(prompts, tuned, lambda _: next(base)).summary
    assert summary.tuned == summary.base == Scores(rouge_l=1, exact_match=1)
    assert summary.comparison
    assert (summary.answers, summary.scored, summary.comparison.prompts) == (3, 1, 1)
    alone = evaluated(prompts, in_turn("no idea", "because of the moon", "Hi")).summary
    assert (alone.scored, alone.tuned, alone.base) == (2, Scores(rouge_l=0.5, exact_match=0.5), None)


def test_cut_off_answers_are_reported_and_do_not_fail_the_evaluation() -> None:
    ends = iter([True, False])
    report = evaluated([any_question()] * 2, lambda _: Reply("because of the moon", 100, finished=next(ends)))
    (check,) = [check for check in report.checks if not check.ok]
    assert check.message == "1 of 2 answers reached 256 tokens without end-of-text: number 2"
    assert report.ok
    assert report.summary.problems == 0


def test_without_a_finish_reason_the_cut_off_check_is_not_made() -> None:
    report = evaluated([any_question()], answering("because of the moon"))
    assert report.checks[-1].ok is None


def test_lengths_are_counted_in_words() -> None:
    report = evaluated([any_question()], answering("one two three"), answering("one"))
    summary = report.summary
    assert (summary.tuned_words, summary.base_words, summary.reference_words) == (3, 1, 4)


def test_the_report_round_trips_through_json() -> None:
    report = evaluated([any_question()], answering("because"), answering("why not"), notes=["a note"])
    assert EvaluationReport.model_validate_json(report.model_dump_json()) == report
