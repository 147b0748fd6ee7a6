"""The documentation says each thing once."""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_paragraph_occurs_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        for block in re.split(r"\n\s*\n", file.read_text(encoding="utf-8")):
            paragraph = " ".join(block.split())
            if len(paragraph) > 60:  # shorter ones are headings and the frames of lists
                places[paragraph].append(file.name)
    assert [(found, paragraph) for paragraph, found in places.items() if len(found) > 1] == []
