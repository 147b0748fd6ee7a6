"""ApproveDeployment: asks the team to approve or reject the deployment. `finetune` sends Step Functions the answer."""

from datetime import UTC, datetime, timedelta

from finetuning.aws.sns import notify
from finetuning.handlers.step import Payload, step
from finetuning.operations.report_page import write_report
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.report.messages import approval_requested
from finetuning.runs.status import Approval
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, task_token}` → `{}`. The result is not used: the state ends when the token is sent back, or at its
    timeout.
    """
    stage = settings()
    answer_by = datetime.now(UTC) + timedelta(hours=stage.approval_hours)
    run.store.save(run.layout.approval, Approval(task_token=event["task_token"]))
    waiting = f"Waiting for approval until {answer_by:%d %b %H:%M} UTC: {commands.approve(run.run_id, stage.stage)}"
    status = run.record(waiting, progress=waiting)
    report = write_report(run)
    message = approval_requested(
        status, run.plan, run.find_evaluation(), answer_by=answer_by, stage=stage.stage, report=report
    )
    notify(stage.topic_arn, message)
    return {}
