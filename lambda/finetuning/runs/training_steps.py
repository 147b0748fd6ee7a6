"""How far a training has come, from its log, and how fast it was.

JumpStart's script logs `Training Epoch: 1/3, step 387/388 completed (loss: 1.71)` (seen in public logs of its jobs).
llama-recipes, whose line it is, counts epochs from 1 and steps from 0: the one above ends its epoch.
"""

import re
from collections.abc import Iterable
from datetime import datetime

from finetuning.lazy_model import LazyModel

_STEP = re.compile(
    r"Training Epoch: (\d+)/([1-9]\d*), step (\d+)/([1-9]\d*) completed \(loss: (\d+\.?\d*(?:e[+-]?\d+)?)"
)


class TrainingSteps(LazyModel):
    """A step, and when it was logged. `epoch` and `step` count from 1."""

    time: datetime
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float

    @property
    def share(self) -> float:
        """Of all steps of all epochs, the part that is done."""
        return ((self.epoch - 1) * self.steps + self.step) / (self.epochs * self.steps)

    def __str__(self) -> str:
        return f"Epoch {self.epoch} of {self.epochs}, step {self.step} of {self.steps}, loss {self.loss:g}"


def read_steps(log: Iterable[tuple[datetime, str]]) -> list[TrainingSteps]:
    """The steps in the lines of a log. Of a line that a progress bar wrote over again it is the last."""
    read = []
    for time, line in log:
        *_, found = [None, *_STEP.finditer(line)]
        if found:
            epoch, epochs, step, steps = map(int, found.groups()[:4])
            loss = float(found[5])
            read.append(TrainingSteps(time=time, epoch=epoch, epochs=epochs, step=step + 1, steps=steps, loss=loss))
    return read


def speed(first: TrainingSteps, last: TrainingSteps, began: datetime, tokens: int) -> tuple[float, float] | None:
    """Tokens per second, and the seconds from the job's begin to its first token, from two steps.

    `tokens`: of all epochs. None if the steps are the same, or were logged at the same time.
    """
    seconds, share = (last.time - first.time).total_seconds(), last.share - first.share
    if seconds <= 0 or share <= 0:
        return None
    tokens_per_second = share * tokens / seconds
    start = (first.time - began).total_seconds() - first.share * tokens / tokens_per_second
    return tokens_per_second, max(0.0, start)
