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
    """Writes report.html; returns a link that opens it for up to `LINK_HOURS`."""
    key = run.layout.report_page
    run.store.write(key, report_of(run, stage).encode(), content_type="text/html; charset=utf-8")
    return run.store.link(key, LINK_HOURS)
