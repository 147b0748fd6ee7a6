"""EvaluateAnswers: what the answers mean for the run."""

import json
from collections.abc import Callable

import pytest

from finetuning.errors import Code, EndpointFailed, FineTuningError
from finetuning.evaluation.asking import AnswerBatch
from finetuning.evaluation.comparison import Reply
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import judged
from finetuning.handlers import evaluate_answers, judge_batch
from finetuning.runs.status import Verdict
from tests.builders.aws import FakeAws
from tests.builders.evaluations import JUDGE, answered, held_out_run, let_judge, prefers_right, right, wrong
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore


def test_the_answers_are_compared_and_the_verdict_is_kept(memory: MemoryStore) -> None:
    run = held_out_run(memory)
    answered(run, tuned=right, base=wrong)
    result = invoke(evaluate_answers, run_id=run.run_id)
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.ok
    assert (report.summary.answers, report.notes) == (24, [])
    assert [row.prompt for row in report.rows] == [f"question {number} ?" for number in range(24)]
    assert run.status.verdict is Verdict.HELPED
    assert result["message"].startswith("Tuning helped: ROUGE-L ")


def test_without_the_base_models_answers_the_report_says_so(memory: MemoryStore) -> None:
    run = held_out_run(memory)
    answered(run, tuned=right)
    invoke(evaluate_answers, run_id=run.run_id)
    assert memory.load(run.layout.evaluation, EvaluationReport).notes == [evaluate_answers.NO_BASE]
    assert run.status.verdict is Verdict.NOT_COMPARED
    assert "not compared: the base model could not be asked. ROUGE-L" in run.status.events[-1].message


def test_the_verdict_says_why_the_base_model_was_not_to_be_asked(memory: MemoryStore) -> None:
    run = held_out_run(memory)
    reason = {"compare_with_base": False, "not_compared": "it would cost about 9.00 USD"}
    run.save_plan(run.plan.model_copy(update={"evaluation": run.plan.evaluation.model_copy(update=reason)}))
    answered(run, tuned=right)
    result = invoke(evaluate_answers, run_id=run.run_id)
    assert memory.load(run.layout.evaluation, EvaluationReport).not_compared == "it would cost about 9.00 USD"
    assert result["message"].startswith("Tuned and base model were not compared: it would cost about 9.00 USD. ROUGE-L")
    assert run.status.verdict is Verdict.NOT_COMPARED


def test_empty_answers_fail_the_run_and_the_report_is_kept(memory: MemoryStore) -> None:
    run = held_out_run(memory)
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
    run = held_out_run(memory, must_beat_base=must_beat_base)
    answered(run, tuned=wrong, base=right)
    if passes:
        assert invoke(evaluate_answers, run_id=run.run_id)["message"].startswith("Tuning made the answers worse")
        return
    with pytest.raises(FineTuningError) as refused:
        invoke(evaluate_answers, run_id=run.run_id)
    assert refused.value.code == Code.EVALUATION_BELOW_BASE
    assert memory.read(run.layout.evaluation)


def test_a_model_that_beats_the_base_model_goes_on(memory: MemoryStore) -> None:
    run = held_out_run(memory, must_beat_base=True)
    answered(run, tuned=right, base=wrong)
    assert invoke(evaluate_answers, run_id=run.run_id)["message"] == run.status.events[-1].message


def test_what_the_judge_says_stands_beside_the_verdict(cloud: FakeAws, memory: MemoryStore) -> None:
    run = held_out_run(memory, JUDGE)
    answered(run, tuned=wrong, base=right)
    let_judge(cloud, lambda first, second: "B" if prefers_right(first, second) == "A" else "A")
    invoke(judge_batch, run_id=run.run_id, batch=0)
    result = invoke(evaluate_answers, run_id=run.run_id)
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.judgement
    assert (report.judgement.judge, report.judgement.wins, report.judgement.win_rate) == (JUDGE, 24, 1.0)
    assert {row.judged for row in report.rows} == {"tuned"}
    assert run.status.verdict is Verdict.WORSE
    assert run.status.judgement == judged(report.judgement)
    assert result["message"].startswith("Tuning made the answers worse")


@pytest.mark.parametrize(("tuned", "base", "passes"), [(wrong, right, False), (right, wrong, True)])
def test_the_gate_does_not_ask_the_judge(
    cloud: FakeAws, memory: MemoryStore, tuned: Callable[[int], str], base: Callable[[int], str], passes: bool
) -> None:
    run = held_out_run(memory, JUDGE, must_beat_base=True)
    answered(run, tuned=tuned, base=base)
    for_the_loser = {"A": "B", "B": "A"}
    let_judge(cloud, lambda first, second: for_the_loser[prefers_right(first, second)])
    invoke(judge_batch, run_id=run.run_id, batch=0)
    if passes:
        invoke(evaluate_answers, run_id=run.run_id)
    else:
        with pytest.raises(FineTuningError) as refused:
            invoke(evaluate_answers, run_id=run.run_id)
        assert refused.value.code == Code.EVALUATION_BELOW_BASE
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.judgement
    assert report.judgement.win_rate == (0.0 if passes else 1.0)


def test_a_judge_that_was_not_asked_everything_is_said_with_the_reason(memory: MemoryStore) -> None:
    run = held_out_run(memory, JUDGE)
    answered(run, tuned=right, base=wrong)
    replies = {number: Reply("AB"[number % 2], 5) for number in range(20)}
    memory.save(run.layout.answers("judge", 0), AnswerBatch(replies=replies))
    cause = json.dumps(
        {"errorMessage": json.dumps({"code": "AWS_UNAVAILABLE", "message": "Too many.", "fix": "Wait."})}
    )
    invoke(evaluate_answers, run_id=run.run_id, judge_failure={"Error": "TransientAwsError", "Cause": cause})
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert report.judgement
    assert (report.judgement.wins, report.judgement.not_judged) == (10, 14)
    assert "The judge was not asked everything: Too many." in [event.message for event in run.status.events]
    assert run.status.verdict is Verdict.HELPED


def test_without_the_base_models_answers_there_is_no_judgement(memory: MemoryStore) -> None:
    run = held_out_run(memory, JUDGE)
    answered(run, tuned=right)
    invoke(evaluate_answers, run_id=run.run_id)
    report = memory.load(run.layout.evaluation, EvaluationReport)
    assert (report.judgement, report.notes) == (None, [evaluate_answers.NO_BASE])
    assert run.status.judgement == ""
