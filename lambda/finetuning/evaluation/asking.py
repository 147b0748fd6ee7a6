"""Asking an endpoint the prompts of an evaluation, in batches, each of which one function call can ask.

The figures fit together: a batch ends within a function's time even if every call of it takes as long as it may, and
a thousand slow answers are there before a temporary endpoint expires (tests/unit/evaluation/test_asking.py).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from pydantic import Field

from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.questions import Question
from finetuning.lazy_model import LazyModel
from finetuning.runs.asking_limits import CALLS_AT_ONCE, QUESTIONS_PER_PAIR

PROMPTS_PER_BATCH = 15
JUDGE_QUESTIONS_PER_BATCH, JUDGE_CALLS_AT_ONCE = 75, 10
"""A judge answers with one word: so many more of its questions fit one call, and the history of an execution."""
PAUSES = (2, 10)
"""Seconds before a call that failed is made again, and before it is made for the last time."""
NOT_ASKED = "Not asked: the endpoint answered no prompt of the first batch."


class AnswerBatch(LazyModel):
    """What an endpoint answered, by the number of the prompt: a document for each batch and model."""

    replies: dict[int, Reply] = Field(default_factory=dict)

    @property
    def is_unanswered(self) -> bool:
        """True if no prompt was answered."""
        return bool(self.replies) and all(reply.error is not None for reply in self.replies.values())


def batches(prompts: int, size: int = PROMPTS_PER_BATCH) -> list[int]:
    """The number of each batch. `size`: prompts in a batch."""
    return list(range(-(-prompts // size)))


def judge_batches(prompts: int) -> list[int]:
    """The number of each batch of a judge's questions about so many prompts, if no answers are equal."""
    return batches(QUESTIONS_PER_PAIR * prompts, JUDGE_QUESTIONS_PER_BATCH)


def numbers_in(batch: int, prompts: int, size: int = PROMPTS_PER_BATCH) -> range:
    """The prompts of a batch, by their numbers from 0 on."""
    first = batch * size
    return range(first, min(first + size, prompts))


def ask_batch(
    questions: Sequence[Question],
    numbers: Sequence[int],
    kept: AnswerBatch,
    ask: Ask,
    keep: Callable[[AnswerBatch], None],
    at_once: int = CALLS_AT_ONCE,
) -> AnswerBatch:
    """Asks those of the `numbers` that have no answer in `kept`, several prompts at a time. Calls `keep` after each
    answer, so that no answer is asked for twice, and at the end with those prompts that failed each time.
    """
    replies = {number: reply for number, reply in kept.replies.items() if reply.error is None}
    missing = [number for number in numbers if number not in replies]
    with ThreadPoolExecutor(max_workers=at_once) as executor:
        asked = {executor.submit(_ask_again, ask, questions[number].inputs): number for number in missing}
        for answered in as_completed(asked):
            replies[asked[answered]] = answered.result()
            if replies[asked[answered]].error is None:
                keep(_in_order({number: each for number, each in replies.items() if each.error is None}))
    complete = _in_order(replies)
    if any(reply.error is not None for reply in replies.values()):
        keep(complete)
    return complete


def not_asked(numbers: Sequence[int]) -> AnswerBatch:
    """A batch of an endpoint that answers nothing: to ask it a thousand prompts would take hours."""
    return AnswerBatch(replies={number: Reply("", 0, error=NOT_ASKED) for number in numbers})


def _ask_again(ask: Ask, inputs: str) -> Reply:
    reply = ask(inputs)
    for pause in PAUSES:
        if reply.error is None:
            break
        time.sleep(pause)
        reply = ask(inputs)
    return reply


def _in_order(replies: Mapping[int, Reply]) -> AnswerBatch:
    return AnswerBatch(replies=dict(sorted(replies.items())))
