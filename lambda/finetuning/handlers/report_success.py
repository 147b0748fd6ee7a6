"""ReportSuccess: records the end of the run, writes the report page and notifies the team."""

from finetuning.aws.sagemaker_runtime import openai_base_url
from finetuning.aws.sns import notify
from finetuning.handlers.step import Payload, measure, step
from finetuning.metrics import ProductMetric
from finetuning.operations.imports import leave_to_endpoint
from finetuning.operations.report_page import write_report
from finetuning.operations.run import Run
from finetuning.operations.run_end import ended, has_ended, require_running
from finetuning.report import messages
from finetuning.report.run_event import run_event
from finetuning.runs.status import RunState
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows, and the `event` to send. A name that stood for an imported model until now is left to
    the endpoint that the run deployed.
    """
    plan, stage, name = run.plan, settings().stage, run.names.endpoint
    message, on_endpoint = "The tuned model is ready", plan.endpoint.deploy and not plan.endpoint.is_imported
    if plan.endpoint.is_imported:
        message = f"{name} is served by Bedrock"
    elif on_endpoint:
        message = f"The endpoint {name} is in service"
    require_running(run)
    if on_endpoint and settings().bedrock_import:
        for line in leave_to_endpoint(run.store, name):
            run.record(line)
    changes: Payload = {"imported_model": ""} if on_endpoint else {}
    status = run.record(message, state=RunState.SUCCEEDED, error=None, **changes)
    if has_ended(run):
        # The clean-up may have read "running" before and removed the endpoint: the sweep of runs reports the end.
        run.record("The execution was ended at its last step", state=RunState.RUNNING)
        raise ended(run)
    measure({ProductMetric.RUN_SUCCEEDED: 1})
    page = write_report(run)
    message_to_team = messages.run_succeeded(
        status,
        plan,
        run.find_evaluation(),
        stage=stage,
        report=page,
        openai_base_url=openai_base_url(status.endpoint) if status.endpoint else "",
    )
    notify(settings().topic_arn, message_to_team)
    event_of_end = run_event(status, plan, stage=stage, report=page)
    return {"message": message, "links": status.links | {"Report": page.console}, "event": event_of_end}
