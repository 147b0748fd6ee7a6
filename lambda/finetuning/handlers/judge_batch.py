"""JudgeBatch: asks the judge one batch of its questions, and keeps its answers."""

from finetuning.aws.judge import asker
from finetuning.errors import TransientAwsError
from finetuning.evaluation.asking import (
    JUDGE_CALLS_AT_ONCE,
    JUDGE_QUESTIONS_PER_BATCH,
    ask_batch,
    not_asked,
    numbers_in,
)
from finetuning.evaluation.judging import asked_once_more
from finetuning.handlers.step import Payload, step
from finetuning.operations.answers import find_batch, judge_questions_of
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, batch}` → what it shows. The first batch is batch 0; the last ones are empty where answers are equal.

    Raises `TransientAwsError` if Bedrock throttles the judge or is not available; what is kept is not asked again.
    """
    judge, batch, asked = run.plan.evaluation.judge, int(event["batch"]), judge_questions_of(run)
    numbers, key = numbers_in(batch, len(asked), JUDGE_QUESTIONS_PER_BATCH), run.layout.answers("judge", batch)
    if judge is None or not numbers:
        return run.status.shown
    if not batch:
        run.record(f"Asking the judge {judge.model} {len(asked)} questions")
    elif find_batch(run, "judge", 0).is_unanswered:
        run.store.save(key, not_asked(numbers))
        return run.status.shown
    busy: list[TransientAwsError] = []
    ask = asked_once_more(asker(judge.model, busy.append))
    known = find_batch(run, "judge", batch)
    answers = ask_batch(asked, numbers, known, ask, lambda kept: run.store.save(key, kept), JUDGE_CALLS_AT_ONCE)
    if busy and any(reply.error is not None for reply in answers.replies.values()):
        raise busy[-1]
    answered = f"{numbers[0] + 1} to {numbers[-1] + 1} of {len(asked)}"
    return run.record("", progress=f"The judge was asked the questions {answered}").shown
