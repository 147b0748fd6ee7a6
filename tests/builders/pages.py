"""Builders of report pages."""

from finetuning.datasets.dataset_report import FileReport, Refusal
from finetuning.datasets.shard_result import LineError
from finetuning.report.page import render
from finetuning.runs.status import Check, Event
from tests.builders.runs import START, any_dataset, any_evaluation, any_failed_status, any_plan

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=alert(1) {{ 7*7 }} \x1b[2J\u202egnp\x00"
"""Text that is markup, a template, control characters and a reversed direction at once."""


def hostile_page() -> str:
    """The report page of a failed run in which every text is hostile."""
    status = any_failed_status(
        step=HOSTILE,
        error={"code": HOSTILE, "message": HOSTILE, "fix": HOSTILE},
        events=[Event(time=START, step=HOSTILE, message=HOSTILE)],
        checks=[Check(check=HOSTILE, ok=False, message=HOSTILE, code=HOSTILE, field=HOSTILE, fix=HOSTILE)],
        links={HOSTILE: "https://example.com/" + HOSTILE, "bad": "javascript:alert(1)"},
    )
    evaluation = any_evaluation()
    row = evaluation.rows[0]
    answer = row.tuned.model_copy(update={"text": HOSTILE})
    hostile_row = row.model_copy(update={"prompt": HOSTILE, "reference": HOSTILE, "tuned": answer, "base": answer})
    evaluation = evaluation.model_copy(update={"rows": [hostile_row], "notes": [HOSTILE]})
    dataset = any_dataset(
        files=[FileReport(path=HOSTILE, format=None, compressed=False, shape=HOSTILE, why=HOSTILE)],
        task_reason=HOSTILE,
        errors=[
            LineError(file=HOSTILE, line=1, path=HOSTILE, code=HOSTILE, message=HOSTILE, fix=HOSTILE, snippet=HOSTILE)
        ],
        error_counts={HOSTILE: 1},
        ignored_columns={HOSTILE: 1},
        notes=[HOSTILE],
        samples=[HOSTILE],
        refusal=Refusal(code=HOSTILE, message=HOSTILE, fix=HOSTILE),
    )
    return render(status, stage="dev", plan=any_plan(task=None), evaluation=evaluation, dataset=dataset)
