"""The prompts of a run's evaluation, and what its models answered."""

from typing import Literal

from finetuning.evaluation.asking import AnswerBatch, batches
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.questions import Question, questions
from finetuning.operations.run import Run

Model = Literal["tuned", "base"]


def questions_of(run: Run) -> list[Question]:
    plan = run.plan
    own = plan.evaluation.prompts
    return questions(run.store.read(run.layout.prompts), own, str(plan.task), plan.template, plan.family)


def find_batch(run: Run, model: Model, batch: int) -> AnswerBatch:
    """The answers that are kept of the batch; empty if there are none yet."""
    return run.store.find(run.layout.answers(model, batch), AnswerBatch) or AnswerBatch()


def replies_of(run: Run, model: Model, prompts: int) -> dict[int, Reply]:
    """The answers of the model to the run's prompts, by their numbers; empty if it was not asked."""
    return {
        number: reply for batch in batches(prompts) for number, reply in find_batch(run, model, batch).replies.items()
    }
