"""Whose turn it is: a stage lets so many runs train, deploy and wait for approval at a time, the earlier ones first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

LONGEST_WAIT_HOURS = 24


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
