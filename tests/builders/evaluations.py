"""Runs whose models have answered, and a judge in Bedrock that reads the answers."""

import json
from collections.abc import Callable
from typing import Any

from finetuning.evaluation.asking import AnswerBatch, batches, numbers_in
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.judging import INSTRUCTION
from finetuning.operations.run import Run
from tests.builders.answers import HELD_OUT, REFERENCES
from tests.builders.aws import FakeAws
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import any_plan

JUDGE = "amazon.nova-pro-v1:0"
Says = Callable[[str, str], str]
"""What a judge says of answer A and answer B."""


def held_out_run(memory: MemoryStore, judge: str | None = None, **evaluation: Any) -> Run:
    """A run that is asked the prompts of `HELD_OUT`. `evaluation`: changes to its plan."""
    plan = {"held_out": len(HELD_OUT), "prompts": [], "judge": {"model": judge} if judge else None}
    run = any_run(memory, evaluation=any_plan().evaluation.model_dump() | plan | evaluation)
    rows = [
        {
            "prompt": question.inputs,
            "messages": [{"role": "user", "content": question.shown}],
            "reference": question.reference,
        }
        for question in HELD_OUT
    ]
    memory.write(run.layout.prompts, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return run


def answered(run: Run, **models: Callable[[int], str]) -> None:
    """Keeps what the models, `tuned` and `base`, answered to the prompts of these numbers."""
    for model, answer in models.items():
        for batch in batches(len(REFERENCES)):
            replies = {number: Reply(answer(number), 100) for number in numbers_in(batch, len(REFERENCES))}
            run.store.save(run.layout.answers(model, batch), AnswerBatch(replies=replies))


def right(number: int) -> str:
    return REFERENCES[number]


def wrong(number: int) -> str:
    return f"Something else, for the {number}. time"


def prefers_right(first: str, second: str) -> str:
    """A judge that knows the references."""
    return "A" if first in REFERENCES else "B"


def let_judge(cloud: FakeAws, says: Says) -> None:
    """Lets Bedrock's Converse answer so to a pair of answers."""

    def converse(messages: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        pair = json.loads(messages[0]["content"][0]["text"].removeprefix(INSTRUCTION))
        return said(says(pair["A"], pair["B"]))

    cloud["bedrock-runtime"].answers["converse"] = converse


def said(*texts: str) -> dict[str, Any]:
    """A response of Converse with these parts."""
    return {"output": {"message": {"role": "assistant", "content": [{"text": text} for text in texts]}}}
