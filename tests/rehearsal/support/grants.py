"""What a session of tests proves of the product's permissions: which calls were refused, which grants were used.

Several sessions side by side each prove a part. They leave a record each, and `judge_grants.py` puts them together.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rehearsal.running import PROJECT, Emulator

RECORDS = PROJECT / "build" / "rehearsal" / "grants"
CALLS = PROJECT / "cli" / "finetuning_cli" / "facts" / "rehearsed_calls.json"
_OF_A_JUDGE = re.compile(r":foundation-model/|:inference-profile/|bedrock:GetFoundationModelAvailability")
_GENERATED = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|-[0-9A-F]{10,13}\b|-[0-9a-f]{10,17}\b",
)
"""The part of a name that differs between two deployments of the same template."""


@dataclass
class Record:
    """A session's emulators, the test files that ran, and the grants of the product's roles."""

    emulators: list[Emulator] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def refused(self) -> list[dict[str, str]]:
        """The refused calls by roles of the product, or on something of the product. Those of the tests' own roles are
        refused on purpose.
        """
        calls = [call for emulator in self.emulators for call in emulator.denials()]
        ours = [call for call in calls if "/canary-" not in call["caller"]]
        return [call for call in ours if "finetune-" in call["caller"] + call["resource"]]

    def add(self, grants: Iterable[dict[str, Any]]) -> None:
        self.grants += [grant for grant in grants if grant["role"].startswith("finetune-")]

    def add_calls(self, calls: Iterable[dict[str, Any]]) -> None:
        """A call for each permission that was used, in the templates' names (`Emulator.calls`)."""
        self.calls += calls

    def write(self, name: str) -> None:
        RECORDS.mkdir(parents=True, exist_ok=True)
        content = {"modules": self.modules, "grants": self.grants, "calls": self.calls}
        (RECORDS / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def recorded_modules() -> set[str]:
    """Names of the test files that ran in the last sessions."""
    return {module for record in _records() for module in record["modules"]}


def recorded_grants() -> list[dict[str, Any]]:
    """The grants of the product's roles, each once, `used` if any session used it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for grant in (grant for record in _records() for grant in record["grants"]):
        named = {member: _GENERATED.sub("", grant[member]) for member in ("role", "action", "resource", "condition")}
        known = found.setdefault(tuple(named.values()), {**named, "used": False})
        known["used"] |= grant["used"]
    return list(found.values())


def recorded_calls() -> list[dict[str, Any]]:
    """The calls of the last sessions, one for each role, action and kind of resource. Not those about a judge: each
    stage allows others.
    """
    return _distinct(call for record in _records() for call in record["calls"] if not _OF_A_JUDGE.search(str(call)))


def kept_calls() -> list[dict[str, Any]]:
    """Those that `finetune verify-aws` asks IAM about."""
    calls: list[dict[str, Any]] = json.loads(CALLS.read_text(encoding="utf-8"))
    return calls


def kind_of(call: dict[str, Any]) -> tuple[str, ...]:
    """What a call has in common with others that need the same permission. Names of a run's own do not count."""
    resource = re.sub(r"(?<=/)[^{}]*$|(?<={prefix}-)[^{}]*$|(?<=canary-)[\w-]+", "", call["resource"])
    return (call["role"], call["action"], resource, *sorted(call["keys"]))


def _distinct(calls: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for call in calls:
        found.setdefault(kind_of(call), call)
    return [found[kind] for kind in sorted(found)]


def _records() -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RECORDS.glob("*.json"))]


if __name__ == "__main__":
    made = json.dumps(recorded_calls(), indent=1, sort_keys=True)
    CALLS.write_text(made + "\n", encoding="utf-8")
    print(f"{len(recorded_calls())} calls in {CALLS.relative_to(PROJECT)}")
