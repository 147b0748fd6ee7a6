"""The run's report page, written from the documents that the run has left so far."""

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
    """Writes report.html; what a failed run never came to make is left out of it."""
    layout = RunLayout(run_id)
    page = render(
        read_status(store, run_id),
        plan=_document(store, layout.plan, RunPlan),
        evaluation=_document(store, layout.evaluation, EvaluationReport),
        dataset=_document(store, layout.dataset_report, DatasetReport),
    )
    store.write(layout.report_page, page.encode(), content_type="text/html; charset=utf-8")


def _document(store: RunStore, key: str, model: type[M]) -> M | None:
    body = store.read(key)
    return None if body is None else model.model_validate_json(body)
