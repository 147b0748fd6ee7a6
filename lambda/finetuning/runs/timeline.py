"""How long each phase of a run took, from its events."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetuning.runs.status import Event, RunStatus

PHASES = {
    "PlanRun": "Preflight",
    "ReframeParquet": "Data",
    "PlanShards": "Data",
    "FinishDataset": "Data",
    "TakeTurn": "Waiting",
    "StartTraining": "Training",
    "DescribeTraining": "Training",
    "PromoteModel": "Promotion",
    "ApproveDeployment": "Approval",
    "DeployEndpoint": "Deployment",
    "DescribeEndpoint": "Deployment",
    "ImportModel": "Deployment",
    "DescribeImport": "Deployment",
    "AskBatch": "Evaluation",
    "DeleteTemporaryEndpoint": "Evaluation",
    "JudgeBatch": "Evaluation",
    "EvaluateAnswers": "Evaluation",
    "SwitchAlias": "Deployment",
    "ScaleEndpoint": "Deployment",
    "RegisterModel": "Registration",
}
"""State → phase. A state that only reports or cleans up belongs to the phase before it."""


@dataclass(frozen=True)
class Period:
    """Consecutive events with the same title. A period ends when the next one begins: a step records an event when it
    begins or has ended, and there are only seconds between two steps.
    """

    title: str
    begin: datetime
    end: datetime
    events: tuple[Event, ...]

    @property
    def duration(self) -> timedelta:
        return self.end - self.begin


def phases(status: RunStatus, now: datetime) -> list[Period]:
    """The phases of the run in order. The last one of a run that is still running ends `now`."""
    return _periods(status, now, PHASES.get)


def steps(status: RunStatus, now: datetime) -> list[Period]:
    """The same for each step (state of the state machine)."""
    return _periods(status, now, lambda step: step)


def _periods(status: RunStatus, now: datetime, title_of: Callable[[str], str | None]) -> list[Period]:
    groups: list[tuple[str, list[Event]]] = []
    for event in status.events:
        title = title_of(event.step) or (groups[-1][0] if groups else event.step)
        if groups and groups[-1][0] == title:
            groups[-1][1].append(event)
        else:
            groups.append((title, [event]))
    if not groups:
        return []
    begins = [status.started_at, *(events[0].time for _, events in groups[1:])]
    ends = [*begins[1:], status.updated_at if status.state.is_final else now]
    return [
        Period(title, begin, end, tuple(events))
        for (title, events), begin, end in zip(groups, begins, ends, strict=True)
    ]
