"""The documents that show how a run is doing: status.json, and approval.json while it waits for an approval."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, computed_field

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

    @property
    def loss(self) -> str:
        """Which loss it is: a name that ends in "loss" is one, of the held-out rows with "eval" or "valid" in it; ""
        for any other metric.
        """
        name = self.name.lower()
        if not name.endswith("loss"):
            return ""
        return "validation loss" if "eval" in name or "valid" in name else "training loss"


class LossChange(LazyModel):
    """The first and the last value of a loss; `before` is None if the job reported one value alone."""

    title: str
    before: float | None = None
    after: float

    @property
    def in_words(self) -> str:
        """`training loss 4.05 → 0.73`"""
        before = "" if self.before is None else f"{self.before:.2f} → "
        return f"{self.title} {before}{self.after:.2f}"


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
    """Name under which the tuned model is served: of an endpoint, or one that stands for an imported model."""
    imported_model: str = ""
    """ARN of the model in Bedrock, if the run imported it."""
    verdict: Verdict | None = None
    """None if there was no evaluation."""
    judgement: str = ""
    """What the judge of the evaluation said, in words; empty without a judge."""
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

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def losses(self) -> list[LossChange]:
        """What the training did to each loss, by the job's metrics. A job of one epoch reports one training loss: then
        those of the first and the last step in its log are given.
        """
        values: dict[str, list[Metric]] = {}
        for metric in sorted(self.metrics, key=lambda metric: metric.time):
            values.setdefault(metric.loss, []).append(metric)
        changes = {
            title: LossChange(title=title, before=found[0].value if len(found) > 1 else None, after=found[-1].value)
            for title, found in values.items()
            if title
        }
        first, last, training = self.first_steps, self.last_steps, changes.get("training loss")
        if first and last and first != last and (training is None or training.before is None):
            changes["training loss"] = LossChange(title="training loss", before=first.loss, after=last.loss)
        return [changes[title] for title in sorted(changes)]

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
