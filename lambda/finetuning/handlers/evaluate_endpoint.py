"""EvaluateEndpoint: sends the held-out prompts to the tuned model, and to the base model if it is deployed."""

from finetuning.aws.sagemaker_runtime import asker
from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.comparison import evaluate
from finetuning.evaluation.gate import require_gate
from finetuning.evaluation.questions import questions, stop_tokens
from finetuning.evaluation.verdict import verdict
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.settings import settings

NO_BASE = "The base model could not be deployed for the comparison; only the tuned model was evaluated."


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate", with_base}` → what it shows.

    Raises `EndpointFailed` if most answers of the tuned model are unusable, and if the model does not pass the gate of
    `must_beat_base`.
    """
    plan, names, with_base = run.plan, run.names, bool(event["with_base"])
    wanted = plan.evaluation
    asked = questions(run.store.read(run.layout.prompts), wanted.prompts, str(plan.task), plan.template, plan.family)
    stops = stop_tokens(str(plan.task), plan.family)
    run.record(f"Evaluating {len(asked)} prompt{'s' if len(asked) > 1 else ''}")
    report = evaluate(
        asked,
        asker(names.candidate if event["variant"] == "candidate" else names.endpoint, stops),
        asker(names.base, stops) if with_base else None,
        notes=[NO_BASE] if wanted.compare_with_base and not with_base else [],
    )
    run.store.save(run.layout.evaluation, report)
    answers = report.summary.answers
    run.record(f"{answers} answer{'s' if answers != 1 else ''}, {report.summary.problems} with problems")
    status = run.record(verdict(report), verdict=report.verdict)
    if not report.ok:
        complaints = "; ".join(check.message for check in report.checks if check.ok is False)
        raise EndpointFailed(
            Code.ENDPOINT_ANSWERS_BROKEN,
            f"The tuned model's answers are broken: {complaints}.",
            "Read the answers in evaluation.json. A lower learning_rate or fewer epochs usually fixes repetition.",
        )
    if wanted.must_beat_base:
        require_gate(report, wanted.must_beat_base, commands.deploy(run.run_id, settings().stage))
    return status.shown
