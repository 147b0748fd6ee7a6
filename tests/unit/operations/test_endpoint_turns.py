"""The order in which runs deploy to one endpoint, and how long one waits for another."""

import json
from datetime import timedelta

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.operations.endpoint_turns import require_patience, run_ahead
from finetuning.runs.status import RunState
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, START, any_status

ENDPOINT = f"{PREFIX}-faq"
HOUR = timedelta(hours=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_run_keeps_its_turn_until_it_ends_and_the_next_one_follows(store: MemoryStore) -> None:
    first, second, third = (any_run(store, f"{name}-00000000") for name in "zba")
    assert run_ahead(first, ENDPOINT, START) is None
    assert run_ahead(second, ENDPOINT, START + HOUR) == first.run_id
    assert run_ahead(third, ENDPOINT, START + 2 * HOUR) == first.run_id
    assert run_ahead(first, ENDPOINT, START + 3 * HOUR) is None, "it asks again, as a step that is retried"
    first.record("", state=RunState.SUCCEEDED)
    assert run_ahead(third, ENDPOINT, START + 3 * HOUR) == second.run_id
    assert run_ahead(second, ENDPOINT, START + 3 * HOUR) is None


def test_of_two_runs_that_come_at_the_same_moment_one_is_served(store: MemoryStore) -> None:
    slow, quick = any_run(store, "slow-00000000"), any_run(store, "quick-00000000")
    assert run_ahead(quick, ENDPOINT, START + timedelta(seconds=1)) is None
    assert run_ahead(slow, ENDPOINT, START) == quick.run_id, "its turn is earlier, but was written later"
    quick.record("", state=RunState.FAILED)
    assert run_ahead(slow, ENDPOINT, START + HOUR) is None


def test_the_run_that_is_served_does_not_wait_for_one_with_an_earlier_turn_that_came_back(store: MemoryStore) -> None:
    """A failed run that is redriven keeps its turn: both would wait for each other, six hours long."""
    redriven, served = any_run(store, "redriven-00000000"), any_run(store, "served-00000000")
    run_ahead(redriven, ENDPOINT, START)
    redriven.record("", state=RunState.FAILED)
    assert run_ahead(served, ENDPOINT, START + HOUR) is None
    redriven.record("", state=RunState.RUNNING)
    assert run_ahead(redriven, ENDPOINT, START + 2 * HOUR) == served.run_id
    assert run_ahead(served, ENDPOINT, START + 2 * HOUR) is None
    served.record("", state=RunState.SUCCEEDED)
    assert run_ahead(redriven, ENDPOINT, START + 3 * HOUR) is None


def test_a_turn_is_two_documents_of_the_endpoint_and_no_event_of_the_run(store: MemoryStore) -> None:
    run = any_run(store, RUN_ID)
    for hours in (0, 1):
        run_ahead(run, ENDPOINT, START + hours * HOUR)
    turn = f"20260304T090000.000000_{RUN_ID}"
    turns = {key: body for key, body in store.objects.items() if key.startswith("turns/")}
    assert turns.pop(f"turns/{ENDPOINT}/{turn}/turn.json") == b"{}"
    (holder,) = turns.items()
    assert (holder[0], json.loads(holder[1])) == (f"turns/{ENDPOINT}/holder.json", {"turn": turn})
    assert (run.status.endpoint_turn, run.status.events) == (turn, [])


def test_runs_of_different_endpoints_do_not_wait_for_each_other(store: MemoryStore) -> None:
    run_ahead(any_run(store, "first-00000000"), ENDPOINT, START)
    assert run_ahead(any_run(store, "other-00000000"), f"{ENDPOINT}-2", START + HOUR) is None


@pytest.mark.parametrize(("hours", "waits"), [(24, True), (24.1, False)])
def test_a_turn_is_over_after_a_day_whatever_became_of_its_run(store: MemoryStore, hours: float, waits: bool) -> None:
    first, second, third = (any_run(store, f"{name}-00000000") for name in ("first", "second", "third"))
    run_ahead(first, ENDPOINT, START)
    run_ahead(second, ENDPOINT, START + 20 * HOUR)
    expected = first if waits else second
    assert run_ahead(third, ENDPOINT, START + hours * HOUR) == expected.run_id


def test_neither_a_run_without_files_nor_one_that_begins_again_is_waited_for(store: MemoryStore) -> None:
    lost, again, second = (any_run(store, f"{name}-00000000") for name in ("lost", "again", "second"))
    run_ahead(lost, ENDPOINT, START)
    del store.objects[lost.layout.status]
    run_ahead(again, ENDPOINT, START + HOUR)
    again.record("", endpoint_turn="")
    assert run_ahead(second, ENDPOINT, START + 2 * HOUR) is None
    assert run_ahead(again, ENDPOINT, START + 3 * HOUR) == second.run_id


def test_a_run_waits_six_hours_for_its_endpoint_and_no_longer() -> None:
    waiting = any_status(endpoint_wait_began=START)
    assert require_patience(any_status(), ENDPOINT, START) == timedelta(0)
    assert require_patience(waiting, ENDPOINT, START + 6 * HOUR) == 6 * HOUR
    with pytest.raises(FineTuningError) as refused:
        require_patience(waiting, ENDPOINT, START + 6.1 * HOUR)
    assert refused.value.code == Code.ENDPOINT_BUSY
    assert f"The endpoint {ENDPOINT} " in refused.value.message
