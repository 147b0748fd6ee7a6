"""How long a run was at what: its events, put together to stretches."""

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
    "ApproveDeployment": "Approval",
    "DeployEndpoint": "Deployment",
    "DescribeEndpoint": "Deployment",
    "EvaluateEndpoint": "Evaluation",
    "DeleteTemporaryEndpoints": "Evaluation",
    "ScaleEndpoint": "Deployment",
    "RegisterModel": "Registration",
}
"""State → what a person calls it. What only reports or cleans up belongs to the phase it ends."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive events of one title. It lasts until the next one begins: steps say when they begin, or have ended,
    and what lies between two of them is seconds."""

    title: str
    begin: datetime
    end: datetime
    events: tuple[Event, ...]

    @property
    def duration(self) -> timedelta:
        return self.end - self.begin


def phases(status: RunStatus, now: datetime) -> list[Stretch]:
    """The run's phases in their order; the last one of a run that goes on lasts until `now`."""
    return _stretches(status, now, PHASES.get)


def steps(status: RunStatus, now: datetime) -> list[Stretch]:
    """The same by step, that is by state of the state machine."""
    return _stretches(status, now, lambda step: step)


def _stretches(status: RunStatus, now: datetime, title_of: Callable[[str], str | None]) -> list[Stretch]:
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
        Stretch(title, begin, end, tuple(events))
        for (title, events), begin, end in zip(groups, begins, ends, strict=True)
    ]
