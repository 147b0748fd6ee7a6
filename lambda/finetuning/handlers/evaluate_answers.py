"""EvaluateAnswers: compares the answers of the tuned model with the references and with the base model's."""

from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.comparison import evaluate
from finetuning.evaluation.gate import require_gate
from finetuning.evaluation.judging import with_judgement
from finetuning.evaluation.verdict import judged, verdict
from finetuning.handlers.step import Payload, step
from finetuning.operations.answers import questions_of, replies_of
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.runs.failures import read_failure
from finetuning.settings import settings

NO_BASE = "The base model could not be asked; only the tuned model was evaluated."


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, judge_failure}` → what it shows. `judge_failure`: why the judge was not asked everything, as
    `{Error, Cause}`; None if it was, or if there is no judge.

    Raises `EndpointFailed` if most answers of the tuned model are unusable, and if the model does not pass the gate of
    `must_beat_base`.
    """
    wanted, asked = run.plan.evaluation, questions_of(run)
    base = replies_of(run, "base", len(asked)) if wanted.compare_with_base else {}
    failed = wanted.compare_with_base and not base
    tuned = replies_of(run, "tuned", len(asked))
    report = evaluate(
        asked,
        tuned,
        base,
        notes=[NO_BASE] if failed else [],
        not_compared="the base model could not be asked" if failed else wanted.not_compared,
    )
    if event.get("judge_failure"):
        failure = read_failure("JudgeBatch", event["judge_failure"], "")
        run.record(f"The judge was not asked everything: {failure['message']}")
    if wanted.judge and base:
        said = replies_of(run, "judge", len(asked))
        report = with_judgement(report, wanted.judge.model, asked, tuned, base, said)
    run.store.save(run.layout.evaluation, report)
    answers = report.summary.answers
    run.record(f"{answers} answer{'s' if answers != 1 else ''}, {report.summary.problems} with problems")
    if report.judgement:
        run.record(judged(report.judgement), judgement=judged(report.judgement))
    status = run.record(verdict(report), verdict=report.verdict)
    if not report.ok:
        complaints = "; ".join(check.message for check in report.checks if check.ok is False)
        raise EndpointFailed(
            Code.ENDPOINT_ANSWERS_BROKEN,
            f"The tuned model's answers are broken: {complaints}.",
            "Read the answers in evaluation.json. A lower learning_rate or fewer epochs usually fixes that.",
        )
    if wanted.must_beat_base:
        require_gate(report, wanted.must_beat_base, commands.deploy(run.run_id, settings().stage))
    return status.shown
