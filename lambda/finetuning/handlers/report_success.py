"""ReportSuccess: the run is over; where its model answers, and the report page."""

from finetuning.aws.run_store import run_store
from finetuning.aws.sns import notify
from finetuning.evaluation.results import EvaluationReport
from finetuning.handlers.step import Payload, measure, step
from finetuning.metrics import ProductMetric
from finetuning.operations.report_page import write_report
from finetuning.operations.status_board import record
from finetuning.report import messages
from finetuning.report.console_links import file_link
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState
from finetuning.settings import settings

STATE = "ReportSuccess"


@step
def handler(event: Payload) -> Payload:
    """`{run_id}` → what it shows."""
    run_id, store = event["run_id"], run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    endpoint = plan.names(settings().prefix).endpoint
    message = f"The endpoint {endpoint} answers" if plan.endpoint.deploy else "The tuned model is ready"
    status = record(store, run_id, STATE, message, state=RunState.SUCCEEDED)
    measure({ProductMetric.RUN_SUCCEEDED: 1})
    evaluation = store.find(RunLayout(run_id).evaluation, EvaluationReport)
    page = write_report(store, run_id, settings().stage)
    notify(settings().topic_arn, messages.run_succeeded(status, plan, evaluation, stage=settings().stage, report=page))
    report = file_link(settings().aws_region, store.bucket, RunLayout(run_id).report_page)
    return {"message": message, "links": status.links | {"Report": report}}
