from datetime import timedelta
from pathlib import Path

from finetuning.runs.status import CLEAN_UP, Event, RunState
from finetuning.runs.timeline import PHASES, phases, steps
from tests.builders.runs import any_status, at


def test_phases_follow_each_other_without_a_gap_from_begin_to_end() -> None:
    status = any_status()
    found = phases(status, at(9_999))
    assert [each.title for each in found] == ["Preflight", "Data", "Training", "Evaluation"]
    assert (found[0].begin, found[-1].end) == (status.started_at, status.updated_at)
    assert [each.end for each in found[:-1]] == [each.begin for each in found[1:]]
    assert sum((each.duration for each in found), timedelta()) == status.updated_at - status.started_at


def test_the_last_phase_of_a_running_run_lasts_until_now() -> None:
    going_on = any_status(state=RunState.RUNNING)
    assert phases(going_on, at(9_999))[-1].end == at(9_999)
    assert steps(going_on, at(9_999))[-1].title == "ReportSuccess"


def test_what_reports_or_cleans_up_belongs_to_the_phase_it_ends() -> None:
    events = [
        Event(time=at(n), step=step, message="x") for n, step in enumerate(("PlanRun", "StartTraining", CLEAN_UP))
    ]
    assert [each.title for each in phases(any_status(events=events), at(3))] == ["Preflight", "Training"]


def test_a_second_attempt_is_a_period_of_its_own_step() -> None:
    order = ("StartTraining", "DescribeTraining", "StartTraining", "DescribeTraining")
    events = [Event(time=at(n), step=step, message=str(n)) for n, step in enumerate(order)]
    assert [each.title for each in steps(any_status(events=events), at(9))] == list(order)
    assert len(phases(any_status(events=events), at(9))) == 1


def test_every_state_with_events_has_a_phase() -> None:
    handlers = Path(__file__).resolve().parents[3] / "lambda" / "finetuning" / "handlers"
    writers = [path.stem for path in handlers.glob("*.py") if "run.record(" in path.read_text()]
    states = {name.title().replace("_", "") for name in writers}
    assert states - PHASES.keys() == {"CleanUpRun", "ReportSuccess", "ReportFailure", "SweepRuns"}


def test_a_run_without_events_has_no_phases() -> None:
    assert phases(any_status(events=[]), at(1)) == []


def test_every_event_is_in_one_period_of_its_step() -> None:
    order = ("PlanRun", "StartTraining", "StartTraining", "Unknown")
    events = [Event(time=at(n), step=step, message=str(n)) for n, step in enumerate(order)]
    running = any_status(events=events, state=RunState.RUNNING)
    assert [(each.title, each.begin, each.end, each.events) for each in steps(running, at(9))] == [
        ("PlanRun", at(0), at(1), tuple(events[:1])),
        ("StartTraining", at(1), at(3), tuple(events[1:3])),
        ("Unknown", at(3), at(9), tuple(events[3:])),
    ]


def test_a_first_step_that_has_no_phase_is_shown_by_its_own_name() -> None:
    events = [Event(time=at(0), step="Unknown", message="x"), Event(time=at(1), step="PlanRun", message="y")]
    assert [each.title for each in phases(any_status(events=events), at(3))] == ["Unknown", "Preflight"]
