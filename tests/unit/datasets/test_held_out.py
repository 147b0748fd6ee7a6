"""Which rows and lines are held out, and the prompts made of them."""

from pathlib import Path

import orjson
import pytest
from xxhash import xxh3_128_digest

from finetuning.datasets.held_out import CONTINUATION, _continuation
from finetuning.datasets.templates import rendered
from finetuning.datasets.tokens import counter_for
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from tests.builders.datasets import any_chat_rows, channel, report_of

TINY = 1e-12
"""A share below the digest of any of the rows here; `1 - TINY` is above it."""


@pytest.mark.parametrize(("fraction", "emptier", "outermost"), [(TINY, "validation", min), (1 - TINY, "train", max)])
def test_the_row_with_the_outermost_digest_fills_an_empty_channel(
    tmp_path: Path, fraction: float, emptier: str, outermost: type[min]
) -> None:
    report = report_of(tmp_path, any_chat_rows(9), validation_fraction=fraction)
    lines = [*channel(tmp_path).splitlines(True), *channel(tmp_path, "validation").splitlines(True)]
    assert len(lines) == 9
    moved = outermost(lines, key=xxh3_128_digest)
    assert channel(tmp_path, emptier) == moved
    count = counter_for(DEFAULT_FAMILY.name).count
    tokens = {line: count(rendered(orjson.loads(line), None, DEFAULT_FAMILY.name)) for line in lines}
    counted = report.statistics.model_dump()
    assert (getattr(report.rows, emptier), counted[f"{emptier}_tokens"]) == (1, tokens[moved])
    assert counted["train_tokens"] + counted["validation_tokens"] == counted["tokens"] == sum(tokens.values())


def test_without_a_share_no_row_is_held_out(tmp_path: Path) -> None:
    report = report_of(tmp_path, any_chat_rows(9), validation_fraction=0)
    assert (report.rows.train, report.rows.validation) == (9, 0)
    assert channel(tmp_path, "validation") == b""


def test_a_text_is_cut_at_the_last_line_that_starts_within_the_trained_share(tmp_path: Path) -> None:
    report = report_of(tmp_path, b"line one.\nline two.\nline 300.\nline 400.\n", "data.txt", validation_fraction=0.5)
    assert channel(tmp_path) == b"line one.\nline two.\n"
    assert channel(tmp_path, "validation") == b"line 300.\nline 400.\n"
    statistics = report.statistics
    assert statistics.train_tokens == statistics.validation_tokens == statistics.tokens // 2 > 7


def test_a_continuation_starts_at_a_word() -> None:
    asked = _continuation("The harbour master kept a parrot.")
    assert (asked["prompt"], asked["reference"]) == ("The harbour", " master kept a parrot.")
    long = "word " * 1000
    asked = _continuation(long)
    assert len(asked["prompt"]) <= CONTINUATION
    assert asked["prompt"].endswith("word")
    assert len(asked["reference"]) == CONTINUATION
    assert _continuation("Unbroken")["prompt"] == "Unbr"


def test_an_emptied_channel_is_removed_from_the_output(tmp_path: Path) -> None:
    report_of(tmp_path, any_chat_rows(9), validation_fraction=0.5)
    assert orjson.loads(channel(tmp_path, "validation").splitlines()[0])
    report_of(tmp_path, any_chat_rows(9), validation_fraction=0)
    assert not (tmp_path / "out/validation").exists()
