"""The run's report page, from the documents that the run has left so far."""

from finetuning.aws.run_store import RunStore
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.evaluation.results import EvaluationReport
from finetuning.operations.status_board import read_status
from finetuning.report.messages import LINK_HOURS
from finetuning.report.page import render
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan


def report_of(store: RunStore, run_id: str, stage: str) -> str:
    """The page as HTML; what the run has not come to make is left out of it."""
    layout = RunLayout(run_id)
    return render(
        read_status(store, run_id),
        stage=stage,
        plan=store.find(layout.plan, RunPlan),
        evaluation=store.find(layout.evaluation, EvaluationReport),
        dataset=store.find(layout.dataset_report, DatasetReport),
    )


def write_report(store: RunStore, run_id: str, stage: str) -> str:
    """Writes report.html; returns a link that opens it for up to `LINK_HOURS`."""
    key = RunLayout(run_id).report_page
    store.write(key, report_of(store, run_id, stage).encode(), content_type="text/html; charset=utf-8")
    return store.link(key, LINK_HOURS)
