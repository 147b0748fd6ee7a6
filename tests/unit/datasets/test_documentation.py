"""docs/datasets.md says what the code does."""

import re
from pathlib import Path

from finetuning.datasets.data_errors import FIXES, ErrorCode
from finetuning.datasets.formats import SUFFIXES, is_data
from finetuning.datasets.shape import COMPLETION, CONVERSATION, PROMPT

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_every_code_has_an_entry_and_every_entry_is_a_code() -> None:
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", DOCUMENT, re.MULTILINE)) == set(map(str, ErrorCode))


def test_every_code_has_a_fix() -> None:
    assert set(FIXES) == set(ErrorCode)


def test_every_column_that_is_read_is_documented() -> None:
    assert [key for key in (*CONVERSATION, *PROMPT, *COMPLETION) if f"`{key}`" not in DOCUMENT] == []


def test_exactly_the_documented_suffixes_are_data_files() -> None:
    files = DOCUMENT.partition("## Files")[2].partition("##")[0]
    named = set(re.findall(r"`(\.\w+)`", files)) - {".gz"}
    assert named == set(SUFFIXES)
    assert all(is_data(f"runs/faq/data{suffix}{packed}") for suffix in named for packed in ("", ".gz"))
    assert [suffix for suffix in named if suffix not in FIXES[ErrorCode.FORMAT_UNKNOWN]] == []
