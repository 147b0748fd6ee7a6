"""`make rehearse FAULT=…`: which faults there are, how they are asked for, and what is judged of their end."""

import re
from typing import Any

import pytest

from rehearsal import running
from rehearsal.emulator.faults import Fault
from rehearsal.scenarios import SCENARIOS, read_scenario
from tests.builders.runs import any_failed_status, any_status

DOCUMENT = (running.PROJECT / "docs" / "rehearsal.md").read_text()
ENDPOINT = {
    "kind": "endpoint", "name": "e", "owner": "r",
    "status": "InService", "instance_type": "ml.g5.4xlarge", "instances": 1,
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_fault_is_in_the_documentation_with_its_end(scenario: Any) -> None:
    end = f"{scenario.state}, {scenario.code}" if scenario.code else str(scenario.state)
    (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{scenario.fault}` |")]
    assert row.endswith(f"| {end} |")


def test_every_fault_can_be_rehearsed_but_one_that_never_ends_and_one_that_only_ages() -> None:
    assert set(Fault) - SCENARIOS.keys() == {Fault.JOB_HANGS, Fault.ENDPOINT_AGES}


def test_an_unknown_fault_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"no fault 'earthquake'.*capacity, job-fails"):
        read_scenario("earthquake")


def test_part_and_number_can_be_one_s_own_and_then_the_end_is_open() -> None:
    assert read_scenario("function-dies") == SCENARIOS[Fault.FUNCTION_DIES]
    other = read_scenario("function-dies:PlanShards:4")
    assert (other.part, other.times, other.state) == ("PlanShards", 4, None)


def test_an_end_as_it_should_be_has_nothing_wrong_about_it() -> None:
    endpoint = {**ENDPOINT, "name": any_status().endpoint}
    assert read_scenario("capacity").judge(any_status(), 1, [endpoint], {any_status().endpoint}) == []


@pytest.mark.parametrize(
    ("fault", "happened", "costing", "words"),
    [
        ("job-fails", 1, [], "should have failed TRAINING_FAILED"),
        ("capacity", 1, [], "should have succeeded"),
        ("function-dies:Nobody", 0, [], "did not happen: nothing matched Nobody"),
        ("function-dies:Somebody", 1, [ENDPOINT], "endpoint e of the run r .* still costs money"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(
    fault: str, happened: int, costing: list[dict[str, Any]], words: str
) -> None:
    (line,) = read_scenario(fault).judge(any_failed_status(), happened, costing, set())
    assert re.search(words, line)
