"""The documents that show how a run is doing: status.json, and approval.json while it waits for an approval."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from finetuning.lazy_model import LazyModel
from finetuning.runs.training_steps import TrainingSteps

CLEAN_UP = "CleanUpRun"
"""The step of events about the clean-up after a failed or aborted execution: the function's name."""


class RunState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        return self is not RunState.RUNNING


class Verdict(StrEnum):
    """Whether tuning helped, by the run's evaluation."""

    HELPED = "helped"
    NO_CHANGE = "no measurable change"
    WORSE = "worse"
    BROKEN = "broken"
    """More than half of the tuned model's answers are empty, loops, in the wrong script, or errors."""
    NOT_COMPARED = "not compared"
    """There was nothing to compare with: no base model, or no reference answer."""


class Event(LazyModel):
    """What happened, in one line. `step` is the name of the state, or of the function for functions outside the state
    machine.
    """

    time: datetime
    step: str
    message: str


class Metric(LazyModel):
    """A value that the training job reported; the model's specification defines the name."""

    name: str
    value: float
    time: datetime


class Check(LazyModel):
    """A line of the preflight's table. `ok` is None if it could not be checked; `message` then gives the reason. With a
    `fix` it is a warning: the run may go on.
    """

    check: str
    ok: bool | None
    message: str
    code: str = ""
    field: str = ""
    fix: str = ""

    @property
    def is_warning(self) -> bool:
        return self.ok is None and bool(self.fix)


class Cost(LazyModel):
    """Cost of the training in USD: the estimate, and afterwards billed seconds × hourly price."""

    estimate_usd: float | None = None
    actual_usd: float | None = None
    assumptions: list[str] = Field(default_factory=list)


class Rung(LazyModel):
    """An attempt to train on one instance type of the ladder. `estimate_usd`: cost of the whole training on it."""

    attempt: int
    instance_type: str
    job_name: str
    time: datetime
    estimate_usd: float | None = None
    outcome: Literal["running", "completed", "failed", "no_capacity"] = "running"
    message: str = ""


class RunStatus(LazyModel):
    """status.json. `error` is `{code, message, fix}`, with `findings` if the preflight refused the run."""

    model_config = ConfigDict(extra="ignore")

    run_id: str
    state: RunState = RunState.RUNNING
    step: str = ""
    execution_arn: str = ""
    redrives: int = 0
    """How often that execution had been redriven when the run last noticed."""
    started_at: datetime
    updated_at: datetime
    redeployed_at: datetime | None = None
    """When the last deployment of the tuned model began, if it was deployed again."""
    events: list[Event] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    links: dict[str, str] = Field(default_factory=dict)
    """Title → console URL."""
    cost: Cost = Field(default_factory=Cost)
    progress: str = ""
    """What the run is waiting for, or how far its training has come; empty if neither is known."""
    metrics: list[Metric] = Field(default_factory=list)
    ladder: list[Rung] = Field(default_factory=list)
    """Every attempt to get instances, the latest last."""
    first_steps: TrainingSteps | None = None
    last_steps: TrainingSteps | None = None
    """The first and the last step of the current job that were read in its log."""
    training_job: str = ""
    model_artifact: str = ""
    """Where the completed job reports its files: an S3 URI that ends in `/`. Empty before, and in earlier versions."""
    endpoint: str = ""
    verdict: Verdict | None = None
    """None if there was no evaluation."""
    endpoint_turn: str = ""
    """Place in the queue of the runs that deploy to the same endpoint, from the first wish until the run's end."""
    endpoint_wait_began: datetime | None = None
    """Since when the run waits before it can deploy; None if it does not."""
    deployment_began: datetime | None = None
    """When the latest deployment was requested from SageMaker."""
    model_package: str = ""
    """ARN of the model's version in the model registry."""
    error: dict[str, Any] | None = None

    @classmethod
    def begin(cls, run_id: str, now: datetime) -> Self:
        return cls(run_id=run_id, started_at=now, updated_at=now)

    @property
    def shown(self) -> dict[str, Any]:
        """The output of a state, for the Step Functions console: the last event, and links."""
        return {"message": self.events[-1].message if self.events else "", "links": self.links}

    def with_event(self, step: str, message: str, now: datetime, **changes: Any) -> Self:
        """A copy with the event added and the fields in `changes` set. The last message is not added twice, and
        `progress` is cleared unless it is in `changes`.
        """
        last = self.events[-1] if self.events else None
        repeated = last is not None and (last.step, last.message) == (step, message)
        events = self.events if repeated or not message else [*self.events, Event(time=now, step=step, message=message)]
        return self.model_copy(update={"step": step, "updated_at": now, "events": events, "progress": "", **changes})

    def with_rung(self, rung: Rung) -> Self:
        """A copy with the attempt added or updated. Its time remains the time at which it began."""
        began = next((known.time for known in self.ladder if known.attempt == rung.attempt), rung.time)
        others = [known for known in self.ladder if known.attempt != rung.attempt]
        return self.model_copy(update={"ladder": [*others, rung.model_copy(update={"time": began})]})

    def with_metrics(self, seen: list[Metric]) -> Self:
        """A copy with the values in `seen` that are new: a job describes only the last value of each metric."""
        known = {(metric.name, metric.time, metric.value) for metric in self.metrics}
        new = [metric for metric in seen if (metric.name, metric.time, metric.value) not in known]
        return self.model_copy(update={"metrics": [*self.metrics, *new]})


class Approval(LazyModel):
    """approval.json. The token belongs to the execution that waits for the approval."""

    task_token: str
