"""Every grant of the product's roles was used by the suite, or is listed with its reason. `make judge-grants` runs it.

It reads what the sessions of the whole suite have recorded, so it comes after them.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.support.grants import kept_calls, kind_of, recorded_calls, recorded_grants, recorded_modules

FOLDER = Path(__file__).parent
REASONS = FOLDER / "unused_grants.toml"


@pytest.fixture(scope="module")
def grants() -> list[dict[str, Any]]:
    """The grants of the stage's roles, each role by the name of its function or purpose."""
    return [{**grant, "role": short(grant["role"])} for grant in recorded_grants()]


def test_the_whole_suite_was_recorded() -> None:
    assert recorded_modules() == {file.name for file in FOLDER.glob("test_*.py")}


def test_every_grant_is_used_or_has_its_reason(grants: list[dict[str, Any]]) -> None:
    unused = [grant for grant in grants if not grant["used"]]
    without = [described(grant) for grant in unused if not any(covers(reason, grant) for reason in reasons())]
    assert not without, "\n".join(without)


def test_no_reason_is_given_for_a_grant_that_is_used_or_gone(grants: list[dict[str, Any]]) -> None:
    stale = [
        f"{reason['reason']}: {action}"
        for reason in reasons()
        for action in reason["actions"]
        if not [g for g in grants if covers({**reason, "actions": [action]}, g)]
        or (
            not reason.get("sometimes") and any(g["used"] for g in grants if covers({**reason, "actions": [action]}, g))
        )
    ]
    assert not stale, "\n".join(stale)


def test_the_calls_that_iam_is_asked_about_are_those_of_the_suite() -> None:
    kept = {kind_of(call) for call in kept_calls()}
    missing = [call for call in recorded_calls() if kind_of(call) not in kept]
    assert not missing, "Run `make rehearsed-calls`: " + "\n".join(map(str, missing))


def short(role: str) -> str:
    """`finetune-dev-workflow-FunctionsPlanRunRole39C0…` is PlanRun. CloudFormation cuts names to 64 characters, so that
    some are only the beginning of a name.
    """
    name = re.sub(r"^finetune-\w+-\w+-(Functions)?", "", role)
    return re.split(r"(?:R(?:o(?:le?)?)?)?[0-9A-F]{8}", name)[0]


def reasons() -> list[dict[str, Any]]:
    reasons: list[dict[str, Any]] = tomllib.loads(REASONS.read_text())["unused"]
    return reasons


def covers(reason: dict[str, Any], grant: dict[str, Any]) -> bool:
    return (
        grant["action"] in reason["actions"]
        and ("roles" not in reason or any(role.startswith(grant["role"]) for role in reason["roles"]))
        and reason.get("on", "") in grant["resource"]
        and reason.get("when", "") in grant["condition"]
    )


def described(grant: dict[str, Any]) -> str:
    return f"{grant['role']}: {grant['action']} on {grant['resource']} when {grant['condition']}"
