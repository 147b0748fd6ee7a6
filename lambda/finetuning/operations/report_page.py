"""The run's report page, from the documents that the run has written so far."""

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.operations.run import Run
from finetuning.report.messages import LINK_HOURS
from finetuning.report.page import render


def report_of(run: Run, stage: str) -> str:
    """The page as HTML; it leaves out what the run has not produced."""
    return render(
        run.status,
        stage=stage,
        plan=run.find_plan(),
        evaluation=run.find_evaluation(),
        dataset=run.store.find(run.layout.dataset_report, DatasetReport),
    )


def write_report(run: Run, stage: str) -> str:
    """Writes the run's page, or that of its latest redeployment; returns a link that opens it for up to `LINK_HOURS`.

    The page of the training stays as it was when it ended, whatever happens to later deployments of its model.
    """
    key = run.layout.redeployment_page if run.status.redeployed_at else run.layout.report_page
    run.store.write(key, report_of(run, stage).encode(), content_type="text/html; charset=utf-8")
    return run.store.link(key, LINK_HOURS)
