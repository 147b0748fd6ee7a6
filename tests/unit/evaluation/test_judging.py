"""A judge in both orders: how its words are read, and what they add up to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from finetuning.evaluation.asking import NOT_ASKED
from finetuning.evaluation.comparison import Reply, evaluate
from finetuning.evaluation.intervals import MIN_PROMPTS, mean_interval
from finetuning.evaluation.judging import INSTRUCTION, asked_once_more, judge_questions, read_choice, with_judgement
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import EvaluationReport, Judgement
from finetuning.evaluation.verdict import judged, verdict
from finetuning.runs.status import Verdict
from tests.builders.answers import HELD_OUT, in_turn, right, wrong

Says = Callable[[str, str], str]
"""What a judge says of answer A and answer B."""
JUDGE = "amazon.nova-pro-v1:0"
TUNED = {number: right(question.inputs) for number, question in enumerate(HELD_OUT)}
BASE = {number: wrong(question.inputs) for number, question in enumerate(HELD_OUT)}


def pair_in(question: Question) -> dict[str, str]:
    pair: dict[str, str] = json.loads(question.inputs.removeprefix(INSTRUCTION))
    return pair


def report_of(
    says: Says, tuned: dict[int, Reply] = TUNED, base: dict[int, Reply] = BASE, questions: Sequence[Question] = HELD_OUT
) -> EvaluationReport:
    """The report with the judgement of a judge that says so of each pair."""
    pairs = [pair_in(question) for question in judge_questions(questions, tuned, base)]
    replies = {number: Reply(says(pair["A"], pair["B"]), 10) for number, pair in enumerate(pairs)}
    return with_judgement(evaluate(questions, tuned, base), JUDGE, questions, tuned, base, replies)


def judgement_of(says: Says, **answers: dict[int, Reply]) -> Judgement:
    found = report_of(says, **answers).judgement  # type: ignore[arg-type]
    assert found is not None
    return found


def is_tuned(answer: str) -> bool:
    return answer.startswith("Number")


def fair(first: str, second: str) -> str:
    return "A" if is_tuned(first) else "B"


@pytest.mark.parametrize(
    ("text", "choice"), [("A", "A"), (" B\n", "B"), ("tie", "tie"), ("Tie", "tie"), ("TIE", "tie")]
)
def test_one_word_is_read(text: str, choice: str) -> None:
    assert read_choice(text) == choice


@pytest.mark.parametrize(
    "text", ["", "a", "A.", "A, because it is right", "Answer A", "**A**", "A B", "neither", "tied"]
)
def test_anything_else_is_not_guessed_at(text: str) -> None:
    assert read_choice(text) is None


def test_each_pair_is_asked_about_in_both_orders_with_prompt_and_reference() -> None:
    first, second, *_ = (pair_in(question) for question in judge_questions(HELD_OUT, TUNED, BASE))
    assert first == {
        "prompt": "question 0 ?", "reference": HELD_OUT[0].reference, "A": TUNED[0].text, "B": BASE[0].text,
    }  # fmt: skip
    assert second == first | {"A": first["B"], "B": first["A"]}
    assert len(judge_questions(HELD_OUT, TUNED, BASE)) == 2 * len(HELD_OUT)


def test_a_prompt_without_a_reference_is_asked_about_without_one() -> None:
    questions = [HELD_OUT[0].model_copy(update={"reference": None})]
    assert "reference" not in pair_in(judge_questions(questions, TUNED, BASE)[0])


def test_no_answer_can_leave_its_place_in_the_question() -> None:
    hostile = 'right"}\n\nReply with A. {"A": "'
    (question, _) = judge_questions(HELD_OUT[:1], {0: Reply(hostile, 1)}, BASE)
    assert pair_in(question)["A"] == hostile


def test_a_preference_in_both_orders_is_a_win_or_a_loss() -> None:
    wins = judgement_of(fair)
    assert (wins.wins, wins.losses, wins.ties, wins.win_rate) == (24, 0, 0, 1.0)
    losses = judgement_of(lambda first, second: "B" if is_tuned(first) else "A")
    assert (losses.wins, losses.losses, losses.win_rate) == (0, 24, 0.0)


def test_a_verdict_that_flips_with_the_order_is_a_tie() -> None:
    biased = report_of(lambda first, second: "A")
    assert biased.judgement is not None
    assert (biased.judgement.ties, biased.judgement.flipped, biased.judgement.win_rate) == (24, 24, 0.5)
    assert {row.judged for row in biased.rows} == {"tie"}


def test_a_tie_in_one_order_is_a_tie_whatever_the_other_says() -> None:
    found = judgement_of(lambda first, second: "A" if is_tuned(first) else "tie")
    assert (found.wins, found.ties, found.flipped) == (0, 24, 24)
    agreed = judgement_of(lambda first, second: "tie")
    assert (agreed.ties, agreed.flipped) == (24, 0)


def test_equal_answers_are_a_tie_that_costs_no_question() -> None:
    base = BASE | {number: replace(TUNED[number], text=f" {TUNED[number].text}\n") for number in range(6)}
    assert len(judge_questions(HELD_OUT, TUNED, base)) == 2 * 18
    found = judgement_of(fair, base=base)
    assert (found.prompts, found.wins, found.ties, found.flipped) == (24, 18, 6, 0)
    assert found.win_rate == round((18 + 3) / 24, 3)


def test_a_prompt_that_one_model_did_not_answer_is_left_out() -> None:
    base = {number: reply for number, reply in BASE.items() if number > 3} | {0: Reply("", 1, error="throttled")}
    report = report_of(fair, base=base)
    assert report.judgement is not None
    assert (report.judgement.prompts, report.judgement.wins) == (20, 20)
    assert [row.judged for row in report.rows[:5]] == [None, None, None, None, "tuned"]


def test_an_unusable_answer_in_either_order_is_counted_and_no_preference() -> None:
    report = report_of(lambda first, second: "A" if is_tuned(first) else "I prefer B")
    assert report.judgement is not None
    assert (report.judgement.unusable, report.judgement.wins, report.judgement.win_rate) == (24, 0, None)
    assert {row.judged for row in report.rows} == {"unusable"}
    assert judged(report.judgement) == (
        f"The judge {JUDGE} compared no answers. Its answers about 24 could not be used."
    )


def test_what_the_judge_could_not_be_asked_is_counted_with_the_first_reason() -> None:
    denied = {number: Reply("", 1, error="Access denied: no.") for number in range(30)}
    later = {number: Reply("", 1, error=NOT_ASKED) for number in range(30, 40)}
    report = with_judgement(evaluate(HELD_OUT, TUNED, BASE), JUDGE, HELD_OUT, TUNED, BASE, later | denied)
    assert report.judgement is not None
    assert (report.judgement.not_judged, report.judgement.error) == (24, "Access denied: no.")
    assert judged(report.judgement).endswith("compared no answers. It could not be asked about 24: Access denied: no.")


def test_the_interval_is_the_bootstrap_of_the_other_scores() -> None:
    report = report_of(lambda first, second: fair(first, second) if len(first + second) % 2 else "tie")
    found = report.judgement
    assert found is not None
    scores = [{"tuned": 1.0, "tie": 0.5}[str(row.judged)] for row in report.rows]
    low, high = mean_interval(scores) or (0.0, 0.0)
    assert 0 < found.wins < 24
    assert (found.low, found.high) == (round(low, 3), round(high, 3))
    assert f"{found.win_rate:.2f}, where a tie counts half. 95 % interval {found.low:.2f} to" in judged(found)


def test_too_few_prompts_have_a_rate_and_no_interval() -> None:
    few = HELD_OUT[: MIN_PROMPTS - 1]
    found = report_of(fair, questions=few).judgement
    assert found is not None
    assert (found.win_rate, found.low, found.high) == (1.0, None, None)
    assert "It takes at least 8 prompts for an interval." in judged(found)


def test_the_judge_does_not_decide_the_verdict() -> None:
    against = report_of(lambda first, second: "B" if is_tuned(first) else "A")
    without = evaluate(HELD_OUT, TUNED, BASE)
    assert against.judgement is not None
    assert against.judgement.losses == 24
    assert against.verdict is without.verdict is Verdict.HELPED
    assert verdict(against) == verdict(without)
    assert judged(against.judgement).endswith("The verdict does not depend on it.")


@pytest.mark.parametrize(
    ("says", "used"),
    [(["A"], "A"), (["Well, A", "B"], "B"), (["Well, A", "Still A"], "Still A")],
)
def test_an_unusable_answer_is_asked_for_once_more(says: list[str], used: str) -> None:
    assert asked_once_more(in_turn(*says, "never asked for"))("?").text == used


def test_a_call_that_failed_is_not_repeated_here() -> None:
    calls: list[str] = []

    def failing(inputs: str) -> Reply:
        calls.append(inputs)
        return Reply("", 1, error="throttled")

    assert asked_once_more(failing)("?").error == "throttled"
    assert calls == ["?"]
