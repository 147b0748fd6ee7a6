"""report.html, from whatever documents a run has got so far."""

from typing import TypeVar

from pydantic import BaseModel

from finetuning.aws.status_board import read_status
from finetuning.aws.store import RunStore
from finetuning.datasets.report import DatasetReport
from finetuning.evaluation.report import EvaluationReport
from finetuning.report.page import render
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan

M = TypeVar("M", bound=BaseModel)


def write_report(store: RunStore, run_id: str) -> None:
    """Renders the page; a run that failed early has fewer sections."""

    def document(key: str, model: type[M]) -> M | None:
        body = store.read(key)
        return None if body is None else model.model_validate_json(body)

    layout = RunLayout(run_id)
    page = render(
        read_status(store, run_id),
        document(layout.plan, RunPlan),
        document(layout.dataset_report, DatasetReport),
        document(layout.evaluation, EvaluationReport),
    )
    store.write(layout.report_page, page.encode(), "text/html; charset=utf-8")
