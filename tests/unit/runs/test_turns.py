"""Whose turn it is."""

from datetime import timedelta

from finetuning.runs.turns import Execution, runs_ahead
from tests.builders.runs import START


def any_executions(*seconds: int) -> list[Execution]:
    return [Execution(START + timedelta(seconds=each), f"arn:{number}") for number, each in enumerate(seconds)]


def test_who_began_first_goes_first_whatever_the_list_s_order() -> None:
    running = any_executions(30, 10, 20)
    assert [runs_ahead(running, f"arn:{number}") for number in range(3)] == [2, 0, 1]


def test_two_that_began_together_are_told_apart() -> None:
    assert sorted(runs_ahead(any_executions(5, 5), arn) for arn in ("arn:0", "arn:1")) == [0, 1]


def test_one_that_is_not_listed_yet_is_the_last() -> None:
    assert runs_ahead(any_executions(1, 2), "arn:new") == 2


def test_nobody_who_begins_later_takes_a_turn_away() -> None:
    before = any_executions(1, 2)
    later = [*before, Execution(START + timedelta(seconds=9), "arn:9")]
    assert runs_ahead(later, "arn:1") == runs_ahead(before, "arn:1")
