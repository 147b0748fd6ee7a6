"""The capacity ladder: which instance type is tried next when AWS has none of the one before."""

from datetime import datetime

from finetuning.errors import Code, TrainingFailed
from finetuning.runs.outcomes import capacity_pause, goes_on_trying
from finetuning.runs.plan import TrainingPlan
from finetuning.runs.status import Rung, RunStatus


def elapsed_seconds(status: RunStatus, now: datetime) -> float:
    """Since the first attempt began."""
    return max(0.0, (now - status.ladder[0].time).total_seconds()) if status.ladder else 0.0


def next_rung(status: RunStatus, plan: TrainingPlan, rung: Rung, now: datetime) -> int:
    """Seconds to wait before the attempt after `rung`, which found no capacity and is in the status.

    Raises `TrainingFailed` (TRAINING_NO_CAPACITY) where none follows.
    """
    elapsed = elapsed_seconds(status, now)
    if goes_on_trying(rung.attempt, len(plan.options), elapsed, plan.capacity_wait_hours):
        return capacity_pause(elapsed)
    tries = f"{len(status.ladder)} tries in {elapsed / 3600:.1f} h" if len(status.ladder) > 1 else "the only try"
    raise TrainingFailed(
        Code.TRAINING_NO_CAPACITY,
        f"AWS had no {' or '.join(plan.instance_types)} free in {tries}. The last answer: {rung.message}",
        "Upload again later, or give it more time or more types: training.capacity_wait_hours and "
        "training.fallback_instance_types of run.json.",
    )
