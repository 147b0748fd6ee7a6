"""What `make mutants` makes of mutmut's results."""

import pytest

from tests.mutants.verdict import Accepted, Mutant, judge

BEFORE = """def greet(name):
    if not name:
        raise Error("No name given.", field="name")
    return "hello" + name"""


def survivor(change: str, replacement: str, status: str = "survived") -> Mutant:
    return Mutant("finetuning.runs.words.x__greet__mutmut_7", status, BEFORE, BEFORE.replace(change, replacement))


def test_a_mutant_is_named_as_its_function_is_imported() -> None:
    assert survivor("", "").function == "finetuning.runs.words._greet"
    assert Mutant("finetuning.runs.names.xǁNamesǁrun_id__mutmut_12", "survived").function == (
        "finetuning.runs.names.Names.run_id"
    )


def test_a_survivor_fails_unless_its_change_is_listed_for_its_function() -> None:
    mutant = survivor("not name", "name")
    entry = (mutant.function, "if name:")
    assert judge([mutant], Accepted(frozenset({entry}))).unlisted == []
    for other in [("finetuning.runs.words.greet", "if name:"), (mutant.function, "if not name:")]:
        assert judge([mutant], Accepted(frozenset({other}))).unlisted == [mutant]


def test_an_entry_whose_mutant_is_killed_or_gone_is_reported() -> None:
    entry = ("finetuning.runs.words._greet", "if name:")
    assert judge([survivor("not name", "name", "killed")], Accepted(frozenset({entry}))).stale == [entry]


@pytest.mark.parametrize("status", ["survived", "no tests", "suspicious", "segfault", "not checked"])
def test_only_a_mutant_that_a_test_noticed_is_killed(status: str) -> None:
    verdict = judge([survivor("not name", "name", status), survivor("", "", "timeout")], Accepted(frozenset()))
    assert (verdict.counts["runs"].killed, verdict.counts["runs"].unlisted) == (1, 1)


@pytest.mark.parametrize(
    ("change", "replacement", "wording"),
    [
        ("No name given.", "NO NAME GIVEN.", True),
        ("No name given.", "XXNo name given.XX", True),
        ('"No name given."', "None", False),
        ("No name given.", "No surname given.", False),
        ("hello", "HELLO", False),  # one word: it may be a key, or a value that a service takes
        ('"No name given.", ', "", False),
        ("+", "-", False),
    ],
)
def test_only_the_case_of_a_sentence_and_marks_around_it_are_wording(
    change: str, replacement: str, wording: bool
) -> None:
    assert survivor(change, replacement).is_wording is wording


def test_a_change_of_several_lines_shows_both_sides() -> None:
    mutant = survivor("    if not name:\n        raise", "    raise")
    assert mutant.change == (
        'if not name: raise Error("No name given.", field="name") => raise Error("No name given.", field="name")'
    )
