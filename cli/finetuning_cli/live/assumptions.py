"""The open assumptions about AWS: facts/open_assumptions.toml, and what was found out about one."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from finetuning.runs.status import Check

LIST = Path(__file__).resolve().parents[1] / "facts" / "open_assumptions.toml"


@dataclass(frozen=True)
class Assumption:
    """`settled_by`: the command with the check of this id. "": only chance shows it, and `seen_when` says how."""

    id: str
    area: str
    statement: str
    matters: str
    settled_by: str = ""
    seen_when: str = ""


@dataclass(frozen=True)
class Observation:
    """What was seen of one assumption. `holds` is None if it could not be seen."""

    holds: bool | None
    seen: str


@cache
def open_assumptions() -> tuple[Assumption, ...]:
    return tuple(Assumption(**each) for each in tomllib.loads(LIST.read_text(encoding="utf-8"))["assumption"])


def observed(checks: Iterable[Check]) -> Observation:
    """The checks of one assumption as one observation: it holds if all of them passed."""
    checks = list(checks)
    failed = [check for check in checks if check.ok is False]
    unclear = [check for check in checks if check.ok is None]
    if failed or unclear:
        words = [f"{check.check}: {check.message}" for check in failed + unclear]
        return Observation(False if failed else None, "; ".join(words[:3]) + (" …" if len(words) > 3 else ""))
    return Observation(True if checks else None, f"{len(checks)} checks passed" if checks else "nothing to check")
