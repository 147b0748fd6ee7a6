"""`data.max_tokens`: the same rows every time, until they have so many tokens."""

from pathlib import Path
from typing import Any

import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions, RowOptions
from tests.builders.datasets import any_chat_rows, any_dialog, any_file, as_lines, channel, report_of, rows_of

ROWS = 2000


def prepared(folder: Path, budget: int | None, rows: list[Any], **more: Any) -> DatasetReport:
    options = DataOptions(data=RowOptions(max_tokens=budget))
    return prepare_files([any_file(folder, rows)], folder / "out", options=options, **more)


def rows_of_all_lengths() -> list[Any]:
    return [{"messages": any_dialog(f"{number} " + "cup " * (number % 90))} for number in range(ROWS)]


@pytest.mark.parametrize("budget", [1000, 50_000, 100_000])
def test_rows_are_used_until_they_have_so_many_tokens(tmp_path: Path, budget: int) -> None:
    rows = rows_of_all_lengths()
    whole = prepared(tmp_path, None, rows)
    held_out = channel(tmp_path, "validation")
    report = prepared(tmp_path, budget, rows)
    longest = max(row.tokens for row in whole.statistics.longest)
    assert budget - 2 * longest < report.statistics.trained_tokens <= budget < whole.statistics.trained_tokens
    assert report.rows.train + report.rows.dropped == whole.rows.train
    assert report.rows.kept + report.rows.dropped + report.rows.duplicates == report.rows.lines
    assert (report.rows.train, channel(tmp_path, "validation")) == (len(rows_of(tmp_path, "train")), held_out)
    assert report.statistics.turns == 2 * report.rows.kept
    assert report.notes[-1] == (
        f"Training rows used: {report.rows.train:,} of {whole.rows.train:,}, chosen by their digests, "
        f"because data.max_tokens is {budget:,}."
    )


def test_a_larger_budget_takes_the_same_rows_and_more(tmp_path: Path) -> None:
    rows = rows_of_all_lengths()
    prepared(tmp_path, 20_000, rows)
    fewer = set(channel(tmp_path).splitlines())
    prepared(tmp_path, 40_000, rows[::-1])
    more = set(channel(tmp_path).splitlines())
    assert fewer < more


def test_the_bytes_are_the_same_for_any_number_of_shards(tmp_path: Path) -> None:
    rows = [*rows_of_all_lengths(), *any_chat_rows(200), *any_chat_rows(200)]
    size, found = len(as_lines(rows)), []
    for shards in (1, 2, 8):
        report = prepared(tmp_path, 30_000, rows, shard_bytes=-(-size // shards))
        found.append((report.rows, report.statistics, channel(tmp_path), channel(tmp_path, "validation")))
    assert found[0][0].dropped > 500
    assert found[0] == found[1] == found[2]


def test_only_the_tokens_that_training_reads_of_a_row_count(tmp_path: Path) -> None:
    rows = rows_of_all_lengths()
    whole = prepared(tmp_path, 50_000, rows)
    cut_off = prepared(tmp_path, 50_000, rows, max_input_length=64)
    assert cut_off.rows.train > 1.2 * whole.rows.train
    assert cut_off.statistics.trained_tokens <= 50_000


def test_a_budget_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    rows = any_chat_rows(20)
    whole = prepared(tmp_path, None, rows)
    assert prepared(tmp_path, 10**9, rows) == whole


def test_one_row_is_used_whatever_the_budget(tmp_path: Path) -> None:
    report = prepared(tmp_path, 1, any_chat_rows(20))
    assert (report.ok, report.rows.train, len(rows_of(tmp_path, "train"))) == (True, 1, 1)


def test_of_a_text_the_beginning_is_used(tmp_path: Path) -> None:
    lines = [f"Line {number} of the manual, on kettles.\n" for number in range(500)]
    text = "\n".join(lines).encode()
    report = report_of(tmp_path, text, "data.txt", data=RowOptions(max_tokens=1000))
    kept = channel(tmp_path)
    assert text.startswith(kept)
    assert kept.endswith(b"\n")
    assert 900 < report.statistics.train_tokens <= 1000
    assert report.rows.train == len(kept.split(b"\n\n")) - (not kept.rpartition(b"\n\n")[2])
    assert report.rows.train + report.rows.validation + report.rows.dropped == 500
    assert "the beginning of the text" in report.notes[-1]
    assert report_of(tmp_path, text, "data.txt", data=RowOptions(max_tokens=1)).rows.train == 1
