"""Evaluations of answers that a test makes up."""

from collections.abc import Callable, Sequence

from finetuning.evaluation.comparison import Ask, Reply, evaluate
from finetuning.evaluation.questions import Question
from finetuning.evaluation.results import EvaluationReport, Judgement
from finetuning.evaluation.run_comparison import EvaluatedRun
from tests.builders.runs import any_plan, any_status


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


REFERENCES = [f"Number {number} is what the pirates of the {number}th ship say" for number in range(24)]
HELD_OUT = [
    Question(shown=f"question {number} ?", inputs=f"question {number} ?", source="held-out", reference=reference)
    for number, reference in enumerate(REFERENCES)
]


def right(inputs: str) -> Reply:
    """The reference answer of a question of `HELD_OUT`."""
    return Reply(REFERENCES[int(inputs.split()[1])], 100)


def wrong(inputs: str) -> Reply:
    return Reply(f"Something else, for the {inputs.split()[1]}. time", 100)


def any_evaluated_run(
    run_id: str, ask: Ask, questions: Sequence[Question] = HELD_OUT, plan: dict[str, object] | None = None
) -> EvaluatedRun:
    """A run that was evaluated without the base model. `plan`: changes to `any_plan`."""
    return EvaluatedRun(any_status(run_id=run_id), any_plan(run_id=run_id, **plan or {}), evaluated(questions, ask))


def any_judgement(**changes: object) -> Judgement:
    """Of a judge that prefers the tuned model's answers."""
    said = {
        "judge": "amazon.nova-pro-v1:0",
        "prompts": 24,
        "wins": 14,
        "losses": 3,
        "ties": 7,
        "flipped": 5,
        "unusable": 0,
        "not_judged": 0,
    }
    rate = {"win_rate": 0.729, "low": 0.583, "high": 0.854}
    return Judgement.model_validate({**said, **rate, **changes})
