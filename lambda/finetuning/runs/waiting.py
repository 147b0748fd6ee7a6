"""How long a run waits: between two polls of a job, for its turn, and for capacity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from finetuning.errors import Code, TrainingFailed
from finetuning.runs.plan import TrainingPlan
from finetuning.runs.status import Rung, RunStatus

SHORTEST_WAIT, LONGEST_WAIT = 2, 1200
SHORTEST_PAUSE, LONGEST_PAUSE = 5, 600
SHORTEST_PENDING = 1800
"""Seconds: the least that SageMaker allows for `MaxPendingTimeInSeconds`, and enough to start instances."""

LONGEST_WAIT_HOURS = 24
"""How long a run waits for its turn before it fails (TURN_TIMED_OUT)."""


LONGEST_ENDPOINT_WAIT_HOURS = 6
"""How long a run waits before it can deploy to its endpoint: enough for the slowest deployment of another run, and its
evaluation.
"""


def wait_seconds(elapsed_seconds: float) -> int:
    """Seconds until the next poll: a twentieth of the time waited so far.

    The end of a job of one minute is noticed within seconds, and the longest job (100 h) takes about 430 polls. At nine
    history events per poll, all waits of a run fit into the 25,000 events of one execution.
    """
    return max(SHORTEST_WAIT, min(LONGEST_WAIT, math.ceil(elapsed_seconds / 20)))


def turn_pause(ahead: int, elapsed_seconds: float) -> int:
    """Seconds until a run with `ahead` runs before it checks its turn again.

    At least one second for each of them, so that many waiting runs do not poll more often than a few.
    """
    return max(wait_seconds(elapsed_seconds), min(ahead, LONGEST_WAIT))


@dataclass(frozen=True, order=True)
class Execution:
    """A running execution. Executions are ordered by start time, then by ARN."""

    started_at: datetime
    arn: str


def runs_ahead(running: Sequence[Execution], arn: str) -> int:
    """The number of running executions that began before the given one: its position in the queue.

    Turns need no record: a run that begins later never gets ahead, and a run that ends frees its turn. An execution
    that is not listed yet (the list is eventually consistent) is the last.
    """
    return next((n for n, execution in enumerate(sorted(running)) if execution.arn == arn), len(running))


def patient_pause(elapsed_seconds: float) -> int:
    """Seconds until the next look at what nobody waits for alone: a tenth of the time waited so far."""
    return max(SHORTEST_PAUSE, min(LONGEST_PAUSE, math.ceil(elapsed_seconds / 10)))


def pending_seconds(plan: TrainingPlan, elapsed_seconds: float) -> int:
    """Seconds that the next job may wait for instances: its share of the time that the run waits for capacity, of which
    `elapsed_seconds` have passed. SageMaker counts them over all types of the job.
    """
    hours = plan.capacity_wait_hours
    share = min(hours * 3600 / len(plan.groups), hours * 3600 - elapsed_seconds)
    return max(SHORTEST_PENDING, math.ceil(share))


def has_next_attempt(attempt: int, rungs: int, elapsed_seconds: float, hours: float) -> bool:
    """True if another attempt follows: every instance type is tried once, then all again until `hours` have passed."""
    return attempt + 1 < rungs or elapsed_seconds < hours * 3600


def elapsed_seconds(status: RunStatus, now: datetime) -> float:
    """Seconds since the first attempt began; 0 before it."""
    return max(0.0, (now - status.ladder[0].time).total_seconds()) if status.ladder else 0.0


def next_rung(status: RunStatus, plan: TrainingPlan, rung: Rung, now: datetime) -> int:
    """Seconds to wait before the attempt after `rung`, which found no capacity and is in the status.

    Raises `TrainingFailed` (TRAINING_NO_CAPACITY) if there is no further attempt.
    """
    elapsed = elapsed_seconds(status, now)
    if has_next_attempt(rung.attempt, len(plan.groups), elapsed, plan.capacity_wait_hours):
        return patient_pause(elapsed)
    attempts = f"{len(status.ladder)} attempts in {elapsed / 3600:.1f} h" if len(status.ladder) > 1 else "1 attempt"
    raise TrainingFailed(
        Code.TRAINING_NO_CAPACITY,
        f"AWS had no capacity for {' or '.join(plan.instance_types)} in {attempts}. Last reason: {rung.message}",
        "Upload again later, raise training.capacity_wait_hours, or add types to training.fallback_instance_types in "
        "run.json.",
    )
