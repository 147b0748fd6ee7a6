"""Which mutants survived, and which of them accepted.toml lists.

A mutant is listed by its function and its changed line, not by mutmut's number: an edit elsewhere in the function
changes the number.
"""

import ast
import difflib
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import libcst
from mutmut.mutation.diff_apply import read_functions_from_index
from mutmut.stats import status_by_exit_code

KILLED = ("killed", "timeout")  # a mutant that does not end is noticed, too


@dataclass(frozen=True)
class Mutant:
    """`name` is mutmut's: `finetuning.runs.names.xǁNamesǁrun_id_in__mutmut_3`. `before`, `after`: the function."""

    name: str
    status: str
    before: str = ""
    after: str = ""

    @property
    def package(self) -> str:
        return self.name.split(".")[1]

    @property
    def function(self) -> str:
        """As it is imported: `finetuning.runs.names.Names.run_id_in`."""
        module, _, mangled = self.name.partition("__mutmut_")[0].rpartition(".")
        return f"{module}.{mangled[2:].replace('ǁ', '.')}"

    @property
    def diff(self) -> list[str]:
        """The lines that differ, each with its sign."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=0, lineterm="")
        return [line for line in lines if not line.startswith(("---", "+++", "@@"))]

    @property
    def change(self) -> str:
        """The changed line; where lines came or went, those before, `=>` and those after."""
        before, after = ([line[1:].strip() for line in self.diff if line[0] == sign] for sign in "-+")
        return after[0] if len(before) == len(after) == 1 else f"{' '.join(before)} => {' '.join(after)}"

    @property
    def is_wording(self) -> bool:
        """True if only the case of a text of several words changed, or mutmut's marks were put around it."""
        before, after = list(ast.walk(ast.parse(self.before))), list(ast.walk(ast.parse(self.after)))
        changed = [
            (old.value, new.value)
            for old, new in zip(before, after, strict=False)
            if isinstance(old, ast.Constant) and isinstance(new, ast.Constant) and old.value != new.value
        ]
        if len(before) != len(after) or len(changed) != 1:
            return False
        ((old_text, new_text),) = changed
        return (
            isinstance(old_text, str)
            and isinstance(new_text, str)
            and re.search(r"\w+ \w+", old_text) is not None
            and new_text.replace("XX", "").casefold() == old_text.replace("XX", "").casefold()
        )


def read_mutants(folder: Path) -> Iterator[Mutant]:
    """Every mutant of mutmut's last run in its working folder, in the order of the files."""
    for meta in sorted(folder.rglob("*.py.meta")):
        path = meta.relative_to(folder).with_suffix("")
        for name, exit_code in json.loads(meta.read_text())["exit_code_by_key"].items():
            status = status_by_exit_code[exit_code]
            yield Mutant(name, status, *(() if status in KILLED else _sources(name, path)))


def _sources(name: str, path: Path) -> tuple[str, str]:
    functions = read_functions_from_index(name, path)
    if functions is None:
        raise LookupError(f"mutmut does not find its own mutant {name}")
    before, after = (libcst.Module([function]).code.strip() for function in functions)
    return before, after


@dataclass(frozen=True)
class Accepted:
    """The changes that may survive, as (function, change)."""

    changes: frozenset[tuple[str, str]]

    @classmethod
    def read(cls, file: Path) -> "Accepted":
        """Raises KeyError on an entry without a reason."""
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["accepted"]
        assert all(entry["reason"].strip() for entry in entries)
        return cls(frozenset((entry["function"], change) for entry in entries for change in entry["changes"]))


@dataclass
class Count:
    total: int = 0
    killed: int = 0
    wording: int = 0
    listed: int = 0
    unlisted: int = 0


@dataclass
class Verdict:
    """`counts` by package. `unlisted`: what fails the target; `stale`: entries whose mutant does not exist any more."""

    counts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    unlisted: list[Mutant] = field(default_factory=list)
    stale: list[tuple[str, str]] = field(default_factory=list)


def judge(mutants: Iterable[Mutant], accepted: Accepted) -> Verdict:
    verdict = Verdict()
    listed = set()
    for mutant in mutants:
        count = verdict.counts[mutant.package]
        count.total += 1
        if mutant.status in KILLED:
            count.killed += 1
        elif (entry := (mutant.function, mutant.change)) in accepted.changes:
            listed.add(entry)
            count.listed += 1
        elif mutant.is_wording:
            count.wording += 1
        else:
            verdict.unlisted.append(mutant)
            count.unlisted += 1
    verdict.stale = sorted(accepted.changes - listed)
    return verdict
