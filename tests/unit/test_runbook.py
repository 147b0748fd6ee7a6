"""docs/runbook.md has an entry for every error code, each with a cause and a fix."""

import re
from pathlib import Path

import pytest

from finetuning.errors import Code

RUNBOOK = (Path(__file__).resolve().parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### ([A-Z_]+)\n(.*?)(?=\n##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)


def test_every_code_has_exactly_one_entry_and_every_entry_a_code() -> None:
    assert sorted(code for code, _ in ENTRIES) == sorted(Code)


@pytest.mark.parametrize(("code", "entry"), ENTRIES, ids=[code for code, _ in ENTRIES])
def test_every_entry_says_what_happened_and_then_what_to_do(code: str, entry: str) -> None:
    happened, *fixes = entry.split("\n\n**What to do:** ")
    assert len(happened) > 20
    assert [len(fix) > 20 for fix in fixes] == [True]
