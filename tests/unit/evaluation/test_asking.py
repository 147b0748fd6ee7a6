"""Batches of prompts: what is asked, what is kept, and whether it all fits."""

import threading
from itertools import chain

import pytest

from finetuning.aws.clients import ONCE
from finetuning.evaluation import asking
from finetuning.evaluation.asking import (
    NOT_ASKED,
    PAUSES,
    PROMPTS_PER_BATCH,
    AnswerBatch,
    ask_batch,
    batches,
    not_asked,
    numbers_in,
)
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import Question
from finetuning.planning.orders import TEMPORARY_TTL_HOURS
from finetuning.runs.asking_limits import ANSWER_SECONDS, BATCHES_AT_ONCE, CALLS_AT_ONCE
from finetuning.runs.run_json import MAX_OWN_PROMPTS, MAX_PROMPTS
from finetuning_cdk.state_machine.definition import definition

QUESTIONS = [Question(shown=f"{n}?", inputs=f"{n}?", source="held-out") for n in range(PROMPTS_PER_BATCH + 5)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking.time, "sleep", lambda _: None)


class Endpoint:
    """Answers with the prompt, except the first times to those in `fails`. Remembers what it was asked."""

    def __init__(self, **fails: int) -> None:
        self.asked: list[str] = []
        self._fails = {f"{prompt.removeprefix('p')}?": times for prompt, times in fails.items()}
        self._lock = threading.Lock()

    def __call__(self, inputs: str) -> Reply:
        with self._lock:
            self.asked.append(inputs)
            if self._fails.get(inputs, 0):
                self._fails[inputs] -= 1
                return Reply("", 5, error="throttled")
        return Reply(f"answer to {inputs}", 100)


class Killed(Exception):
    """Ends a function in the middle."""


def test_every_prompt_is_in_one_batch() -> None:
    for prompts in (1, PROMPTS_PER_BATCH, PROMPTS_PER_BATCH + 1, 1000):
        assert [*chain(*(numbers_in(batch, prompts) for batch in batches(prompts)))] == [*range(prompts)]


def test_the_answers_of_a_batch_are_kept_by_the_number_of_their_prompt() -> None:
    kept: list[AnswerBatch] = []
    answers = ask_batch(QUESTIONS, numbers_in(1, len(QUESTIONS)), AnswerBatch(), Endpoint(), kept.append)
    assert kept[-1] == answers
    assert {number: reply.text for number, reply in answers.replies.items()} == {
        number: f"answer to {number}?" for number in range(PROMPTS_PER_BATCH, PROMPTS_PER_BATCH + 5)
    }


def test_a_call_that_fails_is_made_again_and_its_error_kept_if_it_always_fails() -> None:
    endpoint, kept = Endpoint(p1=2, p3=99), list[AnswerBatch]()
    answers = ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), AnswerBatch(), endpoint, kept.append)
    assert (endpoint.asked.count("1?"), endpoint.asked.count("3?"), endpoint.asked.count("5?")) == (3, 3, 1)
    assert [number for number, reply in answers.replies.items() if reply.error] == [3]
    assert kept[-1] == answers


@pytest.mark.parametrize("answered", range(1, PROMPTS_PER_BATCH, 4))
def test_a_batch_that_is_killed_asks_nothing_again_that_was_kept(answered: int) -> None:
    kept, endpoint = [AnswerBatch()], Endpoint()

    def keep(answers: AnswerBatch) -> None:
        kept.append(answers)
        if len(kept) == answered + 1:
            raise Killed

    with pytest.raises(Killed):
        ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), AnswerBatch(), endpoint, keep)
    known = {QUESTIONS[number].inputs for number in kept[-1].replies}
    assert len(known) == answered
    endpoint.asked.clear()
    complete = ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), kept[-1], endpoint, kept.append)
    assert not known & {*endpoint.asked}
    assert len(complete.replies) == len(endpoint.asked) + answered == PROMPTS_PER_BATCH


def test_a_batch_that_is_asked_again_asks_only_what_failed() -> None:
    first = ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), AnswerBatch(), Endpoint(p7=99), lambda _: None)
    endpoint = Endpoint()
    second = ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), first, endpoint, lambda _: None)
    assert {reply.error for reply in second.replies.values()} == {None}
    assert endpoint.asked == ["7?"]


def test_several_prompts_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(CALLS_AT_ONCE, timeout=10)

    def ask(inputs: str) -> Reply:
        together.wait()
        return Reply("yes", 1)

    assert (
        len(ask_batch(QUESTIONS, numbers_in(0, len(QUESTIONS)), AnswerBatch(), ask, lambda _: None).replies)
        == PROMPTS_PER_BATCH
    )


def test_a_batch_is_unanswered_only_if_each_of_its_prompts_was_asked_in_vain() -> None:
    assert not_asked(numbers_in(1, len(QUESTIONS))).is_unanswered
    assert {reply.error for reply in not_asked(numbers_in(1, len(QUESTIONS))).replies.values()} == {NOT_ASKED}
    assert not AnswerBatch().is_unanswered
    assert not AnswerBatch(replies={0: Reply("", 1, error="no"), 1: Reply("yes", 1)}).is_unanswered


def ask_batch_state() -> tuple[int, int]:
    """How many batches of a model are asked at the same time, and the seconds that one may take."""
    model = definition()["States"]["ServeModels"]["ItemProcessor"]["States"]["AskModel"]
    return model["MaxConcurrency"], model["ItemProcessor"]["States"]["AskBatch"]["TimeoutSeconds"]


def test_a_batch_whose_every_call_takes_as_long_as_it_may_ends_in_time() -> None:
    rounds = -(-PROMPTS_PER_BATCH // CALLS_AT_ONCE)
    tries = 1 + len(PAUSES)
    longest = rounds * (tries * ONCE.read_timeout + sum(PAUSES))
    _, seconds = ask_batch_state()
    assert longest < seconds - 60


def test_the_most_prompts_are_answered_before_a_temporary_endpoint_expires_however_slow_it_is() -> None:
    at_once, _ = ask_batch_state()
    assert at_once == BATCHES_AT_ONCE
    rounds = -(-PROMPTS_PER_BATCH // CALLS_AT_ONCE)
    slowest = -(-len(batches(MAX_PROMPTS)) // at_once) * rounds * ANSWER_SECONDS
    assert slowest < TEMPORARY_TTL_HOURS * 3600


def test_the_list_of_batches_fits_the_input_of_a_state() -> None:
    assert len(str(batches(MAX_PROMPTS + MAX_OWN_PROMPTS))) < 256 << 10
