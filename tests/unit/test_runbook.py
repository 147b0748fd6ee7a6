"""Whoever meets an error finds it in the runbook."""

import re
from pathlib import Path

from finetuning.errors import Code

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"


def test_every_code_has_exactly_one_entry_and_no_entry_is_left_over() -> None:
    entries = re.findall(r"^### ([A-Z_]+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(Code)
