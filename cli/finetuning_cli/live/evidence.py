"""What a first run found out: docs/live/<date>-<region>.json, and the tables in README.md and docs/first-run.md.

`python -m finetuning_cli.live.evidence` in the checkout writes the tables again (`make verified`).
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from finetuning_cli.live.assumptions import Observation, open_assumptions

FOLDER = Path("docs/live")
README = Path("README.md")
GUIDE = Path("docs/first-run.md")
_ARN = re.compile(r"\barn:[\w-]+:[\w-]+:[\w-]*:\d{0,12}:")
_ACCOUNT = re.compile(r"\b\d{12}\b")
_SYMBOLS: dict[bool | None, str] = {True: "holds", False: "does not hold", None: "could not be seen"}


class Seen(BaseModel):
    """One assumption: the result, and what was seen."""

    model_config = ConfigDict(extra="forbid")

    id: str
    result: str
    seen: str

    @classmethod
    def of(cls, id: str, observation: Observation) -> Self:
        return cls(id=id, result=_SYMBOLS[observation.holds], seen=without_account(observation.seen))


class Step(BaseModel):
    """A step of a run and how long it took."""

    run: str
    step: str
    seconds: int


class Evidence(BaseModel):
    """The file. `emulated`: it comes from a rehearsal and proves nothing about AWS."""

    model_config = ConfigDict(extra="forbid")

    date: date
    region: str
    emulated: bool
    version: str
    model: str
    instance_types: list[str]
    budget_usd: float
    estimate_usd: float
    spent_usd: float
    ended: str
    """`complete`, or why it did not get to its end."""
    steps: list[Step]
    assumptions: list[Seen]
    left: list[str]

    @property
    def file_name(self) -> str:
        return f"{self.date.isoformat()}-{self.region}.json"

    def write(self, folder: Path) -> Path:
        """Writes the file without account ids; one of the same day and region is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.file_name
        path.write_text(without_account(self.model_dump_json(indent=2)) + "\n", encoding="utf-8")
        return path


def without_account(text: str) -> str:
    """The text with what follows the account in each ARN, and with no account id."""
    return _ACCOUNT.sub("<account>", _ARN.sub("", text))


def kept_evidence(folder: Path = FOLDER) -> list[Evidence]:
    """The evidence of all first runs in AWS, oldest first."""
    found = [Evidence.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return [each for each in found if not each.emulated]


def verified_table(evidence: Sequence[Evidence]) -> str:
    """Markdown: for each area, how many of its assumptions the newest evidence settled, and which do not hold."""
    lines = ["| assumptions about AWS | how many | settled by a live run |", "|---|---|---|"]
    for area in dict.fromkeys(each.area for each in open_assumptions()):
        ids = [each.id for each in open_assumptions() if each.area == area]
        settled = "; ".join(_settled(ids, evidence)) or "no live run yet"
        lines.append(f"| {area[:1].lower()}{area[1:]} | {len(ids)} | {settled} |")
    return "\n".join(lines) + "\n"


def _settled(ids: Sequence[str], evidence: Sequence[Evidence]) -> Iterator[str]:
    newest = {
        seen.id: (seen, each)
        for each in evidence
        for seen in each.assumptions
        if seen.id in ids and seen.result != _SYMBOLS[None]
    }
    holding = [each for seen, each in newest.values() if seen.result == _SYMBOLS[True]]
    if holding:
        where = max(holding, key=lambda each: each.date)
        yield f"{len(holding)} hold ([{where.date} in {where.region}](docs/live/{where.file_name}))"
    for seen, each in newest.values():
        if seen.result == _SYMBOLS[False]:
            yield f"**{seen.id} does not hold** ([{each.date}](docs/live/{each.file_name}))"


def assumptions_table() -> str:
    """Markdown: every open assumption, why it matters, and what settles it."""
    lines = ["| assumption | why it matters | settled by |", "|---|---|---|"]
    for each in open_assumptions():
        settled = f"`{each.settled_by}`" if each.settled_by else f"seen when {each.seen_when}"
        lines.append(f"| **{each.id}**: {each.statement} | {each.matters} | {settled} |")
    return "\n".join(lines) + "\n"


def documents() -> dict[Path, str]:
    """The documents with generated tables, as they should be."""
    tables = {README: ("verified", verified_table(kept_evidence())), GUIDE: ("assumptions", assumptions_table())}
    return {path: _with_table(path.read_text(encoding="utf-8"), *table) for path, table in tables.items()}


def _with_table(text: str, name: str, table: str) -> str:
    """The text with this table between its marks."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, _, rest = text.partition(begin)
    return before + begin + table + end + rest.partition(end)[2]


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
