"""TakeTurn: no more runs at a time than the stage allows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.handlers import take_turn
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import RUN_ID

LIMIT = 2
OURS = "arn:execution:ours"


def taken(cloud: FakeAws, ahead: int, behind: int = 0, hours_waited: float = 0) -> dict[str, Any]:
    """The result with so many runs that started before and after this one."""
    started = datetime.now(UTC) - timedelta(hours=hours_waited)
    others = [(f"arn:before:{n}", started - timedelta(minutes=1 + n)) for n in range(ahead)]
    others += [(f"arn:after:{n}", started + timedelta(minutes=1 + n)) for n in range(behind)]
    executions = [{"executionArn": arn, "startDate": at} for arn, at in [*others, (OURS, started)]]
    cloud["stepfunctions"].answers["list_executions"] = {"executions": executions}
    result: dict[str, Any] = invoke(
        take_turn,
        run_id=RUN_ID,
        execution_arn=OURS,
        state_machine_arn="arn:machine",
        started_at=started.isoformat(),
    )
    return result


@pytest.fixture(autouse=True)
def limit(cloud: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_RUNS", str(LIMIT))
    settings.cache_clear()


@pytest.mark.parametrize(
    ("ahead", "outcome"), [(0, "go"), (LIMIT - 1, "go"), (LIMIT, "waiting"), (LIMIT + 1, "waiting")]
)
def test_only_so_many_runs_go_at_a_time(cloud: FakeAws, memory: MemoryStore, ahead: int, outcome: str) -> None:
    any_run(memory)
    assert taken(cloud, ahead)["outcome"] == outcome


def test_runs_that_started_later_are_not_waited_for(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    assert taken(cloud, ahead=0, behind=7)["outcome"] == "go"


def test_a_waiting_run_says_how_many_are_before_it_until_it_goes_on(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    assert taken(cloud, ahead=3)["wait_seconds"] == 3
    assert run.status.progress.startswith("Waiting: 3 runs are ahead")
    assert taken(cloud, ahead=1)["wait_seconds"] == 0
    assert run.status.progress == ""


def test_a_run_that_waited_too_long_is_given_up(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    assert taken(cloud, ahead=LIMIT, hours_waited=23.9)["outcome"] == "waiting"
    with pytest.raises(FineTuningError) as late:
        taken(cloud, ahead=LIMIT, hours_waited=24.1)
    assert late.value.code == Code.TURN_TIMED_OUT
