"""status.json, kept up to date step by step.

Only the step that is running writes it (the state machine runs one at a time; the steps inside the Map do not write),
so reading, changing and writing it back loses nothing.
"""

from datetime import UTC, datetime
from typing import Any

from finetuning.aws.run_store import RunStore
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import Metric, Rung, RunStatus


def read_status(store: RunStore, run_id: str) -> RunStatus:
    """The run's status, or a new one where none has been written yet."""
    body = store.read(RunLayout(run_id).status)
    return RunStatus.begin(run_id, datetime.now(UTC)) if body is None else RunStatus.model_validate_json(body)


def record(
    store: RunStore,
    run_id: str,
    step: str,
    message: str,
    *,
    metrics: list[Metric] | None = None,
    rung: Rung | None = None,
    **changes: Any,
) -> RunStatus:
    """Adds an event (`message` may be empty: none), the metrics and the rung of the capacity ladder, and makes
    `changes` to the fields of `RunStatus`. Returns the status as it is now.
    """
    now = datetime.now(UTC)
    status = read_status(store, run_id).with_event(step, message, now, **changes).with_metrics(metrics or [])
    status = status.with_rung(rung) if rung else status
    store.save(RunLayout(run_id).status, status)
    return status
