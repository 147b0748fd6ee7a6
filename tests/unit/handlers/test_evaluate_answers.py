"""EvaluateAnswers: what the answers mean for the run."""

import json
from collections.abc import Callable

import pytest

from finetuning.errors import Code, EndpointFailed, FineTuningError
from finetuning.evaluation.asking import AnswerBatch, batches, numbers_in
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers import evaluate_answers
from finetuning.operations.run import Run
from finetuning.runs.status import Verdict
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import any_plan

REFERENCES = [f"Number {number} is what the pirates of the {number}th ship say" for number in range(24)]
Answers = Callable[[int], str]
"""The answer to the question of that number."""


def answered(run: Run, **models: Answers) -> None:
    """Keeps what the models, `tuned` and `base`, answered to all questions."""
    for model, answer in models.items():
        for batch in batches(len(REFERENCES)):
            replies = {number: Reply(answer(number), 100) for number in numbers_in(batch, len(REFERENCES))}
            run.store.save(run.layout.answers(model, batch), AnswerBatch(replies=replies))


def right(number: int) -> str:
    return REFERENCES[number]


def wrong(number: int) -> str:
    return f"Something else, for the {number}. time"


def held_out(memory: MemoryStore, must_beat_base: bool = False) -> Run:
    """A run of which 24 prompts were held out."""
    evaluation = any_plan().evaluation.model_dump() | {"held_out": 24, "prompts": [], "must_beat_base": must_beat_base}
    run = any_run(memory, evaluation=evaluation)
    rows = [
        {
            "prompt": f"question {number} ?",
            "messages": [{"role": "user", "content": f"question {number} ?"}],
            "reference": reference,
        }
        for number, reference in enumerate(REFERENCES)
    ]
    memory.write(run.layout.prompts, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return run


def test_the_answers_are_compared_and_the_verdict_is_kept(memory: MemoryStore) -> None:
    run = held_out(memory)
    answered(run, tuned=right, base=wrong)
    result = invoke(evaluate_answers, run_id=run.run_id)
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.ok
    assert (report.summary.answers, report.notes) == (24, [])
    assert [row.prompt for row in report.rows] == [f"question {number} ?" for number in range(24)]
    assert run.status.verdict is Verdict.HELPED
    assert result["message"].startswith("Tuning helped: ROUGE-L ")


def test_without_the_base_models_answers_the_report_says_so(memory: MemoryStore) -> None:
    run = held_out(memory)
    answered(run, tuned=right)
    invoke(evaluate_answers, run_id=run.run_id)
    assert memory.load(run.layout.evaluation, EvaluationReport).notes == [evaluate_answers.NO_BASE]
    assert run.status.verdict is Verdict.NOT_COMPARED
    assert "not compared: the base model could not be asked. ROUGE-L" in run.status.events[-1].message


def test_the_verdict_says_why_the_base_model_was_not_to_be_asked(memory: MemoryStore) -> None:
    run = held_out(memory)
    reason = {"compare_with_base": False, "not_compared": "it would cost about 9.00 USD"}
    run.save_plan(run.plan.model_copy(update={"evaluation": run.plan.evaluation.model_copy(update=reason)}))
    answered(run, tuned=right)
    result = invoke(evaluate_answers, run_id=run.run_id)
    assert memory.load(run.layout.evaluation, EvaluationReport).not_compared == "it would cost about 9.00 USD"
    assert result["message"].startswith("Tuned and base model were not compared: it would cost about 9.00 USD. ROUGE-L")
    assert run.status.verdict is Verdict.NOT_COMPARED


def test_empty_answers_fail_the_run_and_the_report_is_kept(memory: MemoryStore) -> None:
    run = held_out(memory)
    answered(run, tuned=lambda _: "", base=right)
    with pytest.raises(EndpointFailed) as failed:
        invoke(evaluate_answers, run_id=run.run_id)
    assert failed.value.code == Code.ENDPOINT_ANSWERS_BROKEN
    assert memory.load(run.layout.evaluation, EvaluationReport).ok is False
    assert run.status.verdict is Verdict.BROKEN


@pytest.mark.parametrize(("must_beat_base", "passes"), [(True, False), (False, True)])
def test_a_model_that_is_worse_than_the_base_model_goes_on_only_where_it_need_not_beat_it(
    memory: MemoryStore, must_beat_base: bool, passes: bool
) -> None:
    run = held_out(memory, must_beat_base=must_beat_base)
    answered(run, tuned=wrong, base=right)
    if passes:
        assert invoke(evaluate_answers, run_id=run.run_id)["message"].startswith("Tuning made the answers worse")
        return
    with pytest.raises(FineTuningError) as refused:
        invoke(evaluate_answers, run_id=run.run_id)
    assert refused.value.code == Code.EVALUATION_BELOW_BASE
    assert memory.read(run.layout.evaluation)


def test_a_model_that_beats_the_base_model_goes_on(memory: MemoryStore) -> None:
    run = held_out(memory, must_beat_base=True)
    answered(run, tuned=right, base=wrong)
    assert invoke(evaluate_answers, run_id=run.run_id)["message"] == run.status.events[-1].message
