"""The prompts of a run's evaluation, how its models are asked, and what they answered."""

from collections.abc import Callable
from typing import Literal

from finetuning.aws import bedrock_runtime, sagemaker_runtime
from finetuning.aws.answer_bodies import MAX_NEW_TOKENS
from finetuning.aws.bedrock_runtime import OnWait
from finetuning.evaluation.asking import AnswerBatch, batches, judge_batches
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.judging import judge_questions
from finetuning.evaluation.questions import Question, questions, stop_texts, stop_tokens
from finetuning.jumpstart.family import Family
from finetuning.operations.run import Run

Model = Literal["tuned", "base", "judge"]


MODELS: tuple[Model, Model] = ("tuned", "base")


IMPORTED = "arn:"
"""What an imported model is asked by; an endpoint has a name."""


def asker_of(model: str, task: str, family: Family, on_wait: OnWait, max_new_tokens: int = MAX_NEW_TOKENS) -> Ask:
    """Asks an endpoint, by its name, or an imported model, by its ARN. `on_wait` gets a line when a wait begins for a
    model that is not loaded.
    """
    if model.startswith(IMPORTED):
        return bedrock_runtime.asker(model, stop_texts(task, family), max_new_tokens, on_wait)
    return sagemaker_runtime.asker(model, stop_tokens(task, family), max_new_tokens)


def stream_answer_of(
    model: str,
    inputs: str,
    task: str,
    family: Family,
    on_text: Callable[[str], None],
    on_wait: OnWait,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Reply:
    """The same for one prompt, whose answer is passed to `on_text` as it arrives."""
    if model.startswith(IMPORTED):
        stops = stop_texts(task, family)
        return bedrock_runtime.stream_answer(model, inputs, on_text, stops, max_new_tokens, on_wait)
    return sagemaker_runtime.stream_answer(model, inputs, on_text, stop_tokens(task, family), max_new_tokens)


def questions_of(run: Run) -> list[Question]:
    plan = run.plan
    own = plan.evaluation.prompts
    return questions(run.store.read(run.layout.prompts), own, str(plan.task), plan.template, plan.family)


def find_batch(run: Run, model: Model, batch: int) -> AnswerBatch:
    """The answers that are kept of the batch; empty if there are none yet."""
    return run.store.find(run.layout.answers(model, batch), AnswerBatch) or AnswerBatch()


def judge_questions_of(run: Run) -> list[Question]:
    """What the judge is asked about the models' answers; nothing without the base model's."""
    asked = questions_of(run)
    return judge_questions(asked, *(replies_of(run, model, len(asked)) for model in MODELS))


def replies_of(run: Run, model: Model, prompts: int) -> dict[int, Reply]:
    """The answers of the model to the run's prompts, by their numbers; empty if it was not asked. Those of the judge
    have the numbers of its questions.
    """
    kept = judge_batches(prompts) if model == "judge" else batches(prompts)
    return {number: reply for batch in kept for number, reply in find_batch(run, model, batch).replies.items()}
