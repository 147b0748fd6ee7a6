"""How long a run waits: between two looks at a job, for its turn, and for capacity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from finetuning.errors import Code, TrainingFailed
from finetuning.runs.plan import TrainingPlan
from finetuning.runs.status import Rung, RunStatus

SHORTEST_WAIT, LONGEST_WAIT = 2, 600
SHORTEST_PAUSE, LONGEST_PAUSE = 5, 600

LONGEST_WAIT_HOURS = 24
"""For a turn."""


def wait_seconds(elapsed_seconds: float) -> int:
    """Seconds until the next look: a twentieth of the time already waited.

    So a job of a minute is seen to end within seconds, and the longest one (100 h) takes about 720 polls: at nine
    history events each, all that a run may wait for stays below the 25,000 that one execution may have.
    """
    return max(SHORTEST_WAIT, min(LONGEST_WAIT, math.ceil(elapsed_seconds / 20)))


def turn_pause(ahead: int, elapsed_seconds: float) -> int:
    """Seconds until a run with so many before it looks again: a second for each at least, so that a crowd of waiting
    runs asks no more often than a few.
    """
    return max(wait_seconds(elapsed_seconds), min(ahead, LONGEST_WAIT))


@dataclass(frozen=True, order=True)
class Execution:
    """An execution that runs. They are ordered by their start, and by name where they started together."""

    started_at: datetime
    arn: str


def runs_ahead(running: Sequence[Execution], arn: str) -> int:
    """How many of the running executions began before the one of that ARN.

    A run keeps its turn once it has it: none that begins later gets ahead of it, so no record of turns is needed, and a
    run that dies gives its turn back by ending. One that is not listed yet (the list lags a little) is the last.
    """
    return next((n for n, execution in enumerate(sorted(running)) if execution.arn == arn), len(running))


def capacity_pause(elapsed_seconds: float) -> int:
    """Seconds until the next instance type is tried: a tenth of the time for which there has been no capacity."""
    return max(SHORTEST_PAUSE, min(LONGEST_PAUSE, math.ceil(elapsed_seconds / 10)))


def goes_on_trying(attempt: int, rungs: int, elapsed_seconds: float, hours: float) -> bool:
    """Whether another attempt follows: every rung is tried once, and all of them again while the time lasts."""
    return attempt + 1 < rungs or elapsed_seconds < hours * 3600


def last_attempt(rungs: int, hours: float) -> int:
    """The highest number an attempt can have, where AWS refuses each at once."""
    attempt, elapsed = 0, 0.0
    while goes_on_trying(attempt, rungs, elapsed, hours):
        elapsed += capacity_pause(elapsed)
        attempt += 1
    return attempt


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
