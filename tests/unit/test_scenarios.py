"""`make rehearse FAULT=…`: the faults, how they are selected, and how the outcome of the run is judged."""

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from rehearsal import running
from rehearsal.__main__ import app
from rehearsal.emulator.faults import Fault
from rehearsal.scenarios import SCENARIOS, read_scenario
from tests.builders.runs import any_failed_status, any_status

DOCUMENT = (running.PROJECT / "docs" / "rehearsal.md").read_text()
ENDPOINT = {
    "kind": "endpoint", "name": "e", "owner": "r",
    "status": "InService", "instance_type": "ml.g5.4xlarge", "instances": 1,
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_every_fault_is_documented_with_its_outcome(scenario: Any) -> None:
    end = f"{scenario.state}, {scenario.code}" if scenario.code else str(scenario.state)
    (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{scenario.fault}` |")]
    assert row.endswith(f"| {end} |")


def test_every_fault_can_be_rehearsed_except_those_that_only_tests_use() -> None:
    assert set(Fault) - SCENARIOS.keys() == {
        Fault.JOB_HANGS,
        Fault.ANSWER_DIFFERS,
        Fault.CAPTURE_KEPT,
        Fault.ENDPOINT_HANGS,
        Fault.ENDPOINT_AGES,
        Fault.DELETING_COUNTS,
        Fault.EVENT_NOT_TAKEN,
        Fault.IMPORT_HANGS,
        Fault.JUDGE_DENIED,
        Fault.JUDGE_GARBAGE,
        Fault.LATE_INTERFACES,
        Fault.ZONE_REFUSED,
    }


def test_every_fault_that_only_tests_use_is_documented() -> None:
    table = DOCUMENT.partition("| fault | what happens | test |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \| ", table, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(.+?)`", cell)} == set(Fault) - SCENARIOS.keys()
    tests = set(re.findall(r"\| `(test_\w+\.py)` \|$", table, re.MULTILINE))
    assert [name for name in tests if not (running.PROJECT / "tests" / "rehearsal" / name).is_file()] == []


def test_an_unknown_fault_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"no fault 'earthquake'.*capacity, pending"):
        read_scenario("earthquake")


@pytest.mark.parametrize("option", ["--model", "--example", "--fault", "--target"])
def test_a_wrong_option_is_refused_before_anything_starts(option: str) -> None:
    refused = CliRunner().invoke(app, ["run", option, "earthquake"])
    assert (refused.exit_code, type(refused.exception)) == (2, SystemExit)
    assert option in refused.output


def test_a_custom_part_or_count_leaves_the_outcome_open() -> None:
    assert read_scenario("function-dies") == SCENARIOS[Fault.FUNCTION_DIES]
    other = read_scenario("function-dies:PlanShards:4")
    assert (other.part, other.times, other.state) == ("PlanShards", 4, None)


def test_the_expected_outcome_has_no_complaints() -> None:
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
def test_every_deviation_is_reported(fault: str, happened: int, costing: list[dict[str, Any]], words: str) -> None:
    (line,) = read_scenario(fault).judge(any_failed_status(), happened, costing, set())
    assert re.search(words, line)
