"""ApproveDeployment: asks the team whether the tuned model is to be deployed; the execution itself gets the answer."""

from datetime import UTC, datetime, timedelta

from finetuning.aws.run_store import run_store
from finetuning.aws.sns import notify
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers.step import Payload, step
from finetuning.operations.report_page import write_report
from finetuning.operations.status_board import record
from finetuning.report import commands
from finetuning.report.messages import approval_asked
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Approval
from finetuning.settings import settings

STATE = "ApproveDeployment"


@step
def handler(event: Payload) -> Payload:
    """`{run_id, task_token}` → `{}`, which nobody reads: the state ends when the token comes back, or in time."""
    run_id, store, stage = event["run_id"], run_store(), settings()
    layout = RunLayout(run_id)
    plan, evaluation = store.load(layout.plan, RunPlan), store.find(layout.evaluation, EvaluationReport)
    answer_by = datetime.now(UTC) + timedelta(hours=stage.approval_hours)
    store.save(layout.approval, Approval(task_token=event["task_token"]))
    waiting = f"Waiting for approval until {answer_by:%d %b %H:%M} UTC: {commands.approve(run_id, stage.stage)}"
    status = record(store, run_id, STATE, waiting, progress=waiting)
    report = write_report(store, run_id, stage.stage)
    message = approval_asked(status, plan, evaluation, answer_by=answer_by, stage=stage.stage, report=report)
    notify(stage.topic_arn, message)
    return {}
