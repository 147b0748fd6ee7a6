"""What a run tells the world while it goes on: status.json."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

CLEAN_UP = "CleanUpRun"
"""The step of the events that tell how an execution's end was cleaned up after: the function's name."""


class RunState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        return self is not RunState.RUNNING


class Event(BaseModel):
    """Something that happened, in one line. `step` is the state's name in the state machine, or the
    function's outside of it."""

    time: datetime
    step: str
    message: str


class Metric(BaseModel):
    """One value the training job reported, under the name its specification gives it."""

    name: str
    value: float
    time: datetime


class Check(BaseModel):
    """One line of the preflight's table. `ok` is None where it could not be checked; `message` then says why."""

    check: str
    ok: bool | None
    message: str
    code: str = ""
    field: str = ""
    fix: str = ""


class Cost(BaseModel):
    """Training money in USD: predicted before it starts, and billed seconds × hourly rate afterwards."""

    estimate_usd: float | None = None
    actual_usd: float | None = None
    assumptions: list[str] = Field(default_factory=list)


class Rung(BaseModel):
    """One try to get instances for the training. `estimate_usd`: of the training on that instance type."""

    attempt: int
    instance_type: str
    job_name: str
    time: datetime
    estimate_usd: float | None = None
    outcome: Literal["running", "completed", "failed", "no_capacity"] = "running"
    message: str = ""


class RunStatus(BaseModel):
    """status.json. `error` is `{code, message, fix}`, with `findings` where the preflight refused."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    state: RunState = RunState.RUNNING
    step: str = ""
    execution_arn: str = ""
    started_at: datetime
    updated_at: datetime
    events: list[Event] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    links: dict[str, str] = Field(default_factory=dict)
    """Title → console URL."""
    cost: Cost = Field(default_factory=Cost)
    progress: str = ""
    """What the run waits for, while it does."""
    metrics: list[Metric] = Field(default_factory=list)
    ladder: list[Rung] = Field(default_factory=list)
    """Every try to get instances, the latest last."""
    training_job: str = ""
    endpoint: str = ""
    model_package: str = ""
    """ARN of the model's version in the model registry."""
    error: dict[str, Any] | None = None

    @classmethod
    def begin(cls, run_id: str, now: datetime) -> Self:
        return cls(run_id=run_id, started_at=now, updated_at=now)

    @property
    def shown(self) -> dict[str, Any]:
        """What a state of the state machine shows a person: what happened last, and where to look."""
        return {"message": self.events[-1].message if self.events else "", "links": self.links}

    def with_event(self, step: str, message: str, now: datetime, **changes: Any) -> Self:
        """A copy with the event added and `changes` made. A repeated message is not repeated in the list; what was
        waited for is over unless `changes` say so.
        """
        last = self.events[-1] if self.events else None
        repeated = last is not None and (last.step, last.message) == (step, message)
        events = self.events if repeated or not message else [*self.events, Event(time=now, step=step, message=message)]
        return self.model_copy(update={"step": step, "updated_at": now, "events": events, "progress": "", **changes})

    def with_rung(self, rung: Rung) -> Self:
        """A copy that tells of the try as it is now; its time stays that of its beginning."""
        began = next((known.time for known in self.ladder if known.attempt == rung.attempt), rung.time)
        others = [known for known in self.ladder if known.attempt != rung.attempt]
        return self.model_copy(update={"ladder": [*others, rung.model_copy(update={"time": began})]})

    def with_metrics(self, seen: list[Metric]) -> Self:
        """A copy that also holds those of `seen` that are new; a job shows only each metric's last value."""
        known = {(metric.name, metric.time, metric.value) for metric in self.metrics}
        new = [metric for metric in seen if (metric.name, metric.time, metric.value) not in known]
        return self.model_copy(update={"metrics": [*self.metrics, *new]})


class Approval(BaseModel):
    """approval.json: an open question to the team. The token belongs to the execution that waits for the answer."""

    task_token: str
