"""The run's report page, from the documents that the run has written so far."""

from finetuning.aws.sagemaker_runtime import openai_base_url
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.operations.run import Run
from finetuning.report.console_links import file_link
from finetuning.report.messages import LINK_HOURS, ReportLink
from finetuning.report.page import render
from finetuning.settings import settings


def report_of(run: Run, stage: str, docs_url: str = "") -> str:
    """The page as HTML; it leaves out what the run has not produced."""
    return render(
        run.status,
        stage=stage,
        docs_url=docs_url,
        openai_base_url=openai_base_url(run.status.endpoint) if run.status.endpoint else "",
        plan=run.find_plan(),
        evaluation=run.find_evaluation(),
        dataset=run.store.find(run.layout.dataset_report, DatasetReport),
    )


def write_report(run: Run) -> ReportLink:
    """Writes the run's page, or that of its latest redeployment, and returns what opens it.

    The page of the training stays as it was when it ended, whatever happens to later deployments of its model.
    """
    stage, layout = settings(), run.layout
    key = layout.redeployment_page if run.status.redeployed_at else layout.report_page
    page = report_of(run, stage.stage, stage.docs_url or "")
    run.store.write(key, page.encode(), content_type="text/html; charset=utf-8")
    signed = run.store.link(key, LINK_HOURS) if stage.signed_report_links else ""
    return ReportLink(f"s3://{run.store.bucket}/{key}", file_link(stage.aws_region, run.store.bucket, key), signed)
