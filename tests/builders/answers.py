"""Evaluations of answers that a test makes up."""

from collections.abc import Callable, Sequence

from finetuning.evaluation.comparison import Ask, Reply, evaluate
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import EvaluationReport


def answering(text: str, latency_ms: int = 100) -> Ask:
    return lambda inputs: Reply(text, latency_ms)


def failing(message: str) -> Ask:
    return lambda inputs: Reply("", 5, error=message)


def in_turn(*texts: str) -> Callable[[str], Reply]:
    waiting = list(texts)
    return lambda inputs: Reply(waiting.pop(0), 100)


def evaluated(
    questions: Sequence[Question], ask_tuned: Ask, ask_base: Ask | None = None, notes: Sequence[str] = ()
) -> EvaluationReport:
    """The evaluation of what both answer to the questions, one after the other."""
    tuned, base = (
        {number: ask(question.inputs) for number, question in enumerate(questions)} if ask else {}
        for ask in (ask_tuned, ask_base)
    )
    return evaluate(questions, tuned, base, notes)
