"""Rows that nearly repeat another one are found, whatever the number of shards, and dropped on request."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.bench_near_duplicates import Writer, found_in
from finetuning.datasets import join, preparation
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions, RowOptions
from tests.builders.datasets import any_file, any_turn, as_lines, channel, rows_of

PAIRS = 1000
"""`make bench-near` plants ten times as many, and shows how many are found at which similarity."""
SENTENCE = "The kettle is descaled once a month with two spoons of citric acid in half a litre of warm water"
ANOTHER = "Parcels that weigh more than thirty kilograms are delivered by freight and signed for at the door"


def any_row(text: str, system: str = "") -> dict[str, Any]:
    turns = [any_turn("system", system)] if system else []
    half = len(text) // 2
    return {"messages": [*turns, any_turn("user", text[:half]), any_turn("assistant", text[half:])]}


def said(row: dict[str, Any]) -> str:
    return "".join(turn["content"] for turn in row["dialog"])


def prepared(
    folder: Path, rows: Sequence[Any], drop: bool = False, fraction: float = 0.0, **more: Any
) -> DatasetReport:
    options = DataOptions(validation_fraction=fraction, data=RowOptions(near_duplicates="drop" if drop else "report"))
    return prepare_files([any_file(folder, rows)], folder / "out", options=options, **more)


def test_near_duplicates_are_found_and_others_are_not(tmp_path: Path) -> None:
    writer = Writer(seed=7)
    alike = [writer.pair(0.8) for _ in range(PAIRS)]
    unlike = [writer.pair(0.3, 0.5) for _ in range(PAIRS)]
    found = found_in(tmp_path, [*alike, *unlike])
    right, wrong = sum(found[:PAIRS]), sum(found[PAIRS:])
    assert right / PAIRS >= 0.99
    assert right / (right + wrong) >= 0.99


@pytest.mark.parametrize("drop", [False, True], ids=["report", "drop"])
def test_the_result_is_the_same_for_any_number_of_shards_and_any_memory(tmp_path: Path, drop: bool) -> None:
    writer = Writer(seed=8)
    rows = [any_row(text) for _ in range(300) for text in writer.pair(0.8)]
    rows = [*rows, *rows[::7]]
    size = len(as_lines(rows))
    found = []
    for number, (shards, at_once) in enumerate([(1, 10**6), (2, 10**6), (8, 10**6), (8, 100)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with patch("finetuning.datasets.offline.join_shards", partial(join.join_shards, at_once=at_once)):
            report = prepared(folder, rows, drop, fraction=0.2, shard_bytes=-(-size // shards))
        found.append((report.near_duplicates, report.rows, channel(folder), channel(folder, "validation")))
    assert found[0][0].repeated > 150
    assert found[0][0].leaked > 50
    assert (found[0][1].dropped > 200) == drop
    assert all(each == found[0] for each in found)


def test_a_training_row_that_nearly_stands_among_the_held_out_rows_is_dropped_not_the_held_out_one(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    files = [
        any_file(data, [any_row(f"{SENTENCE}."), any_row(ANOTHER)], "train.jsonl"),
        any_file(data, [any_row(f"{SENTENCE}!!")], "validation.jsonl"),
        any_file(data, [any_row(f"{ANOTHER}?")], "test.jsonl"),
    ]
    report = prepare_files(files)
    assert report.near_duplicates is not None
    assert report.near_duplicates.model_dump() == {"repeated": 0, "near_held_out": 2, "leaked": 2, "dropped": 0}
    assert (report.rows.train, report.rows.dropped) == (2, 0)
    files[0].write_bytes(as_lines([any_row(f"{SENTENCE}."), any_row("Something else, of which nobody speaks twice")]))
    options = DataOptions(data=RowOptions(near_duplicates="drop"))
    report = prepare_files(files, tmp_path / "out", options=options)
    assert report.near_duplicates is not None
    assert report.near_duplicates.model_dump() == {"repeated": 0, "near_held_out": 1, "leaked": 1, "dropped": 1}
    assert (report.rows.train, report.rows.held_out, report.rows.dropped) == (1, 2, 1)
    assert "Something else" in said(rows_of(tmp_path, "train")[0])


@pytest.mark.parametrize(
    "rows",
    [
        [any_row(text, system=SENTENCE * 20) for text in (SENTENCE, ANOTHER)],
        [any_row("Yes, 12"), any_row("Yes, 13"), any_row("Yes, 14")],
        [{"instruction": "Say it", "input": "", "output": text} for text in (SENTENCE, ANOTHER)],
    ],
    ids=["the same system text", "short rows", "the same columns"],
)
def test_rows_that_have_only_little_in_common_are_not_near_duplicates(tmp_path: Path, rows: list[Any]) -> None:
    found = prepared(tmp_path, rows, drop=True).near_duplicates
    assert found is not None
    assert found.repeated == 0


@pytest.mark.parametrize(
    "row",
    [
        any_row,
        lambda text: {"instruction": "Say it", "input": "", "output": text},
        lambda text: {"text": text},
        lambda text: any_row(text.translate(str.maketrans("abcdefghijklmnop", "абцдефгхийклмноп"))),
    ],
    ids=["chat", "instruction", "text", "Cyrillic"],
)
def test_rows_of_every_kind_are_compared(tmp_path: Path, row: Callable[[str], dict[str, Any]]) -> None:
    report = prepared(tmp_path, [row(SENTENCE), row(ANOTHER), row(f"{SENTENCE}!")])
    assert report.near_duplicates is not None
    assert (report.near_duplicates.repeated, report.rows.train) == (1, 3)


def test_of_a_very_long_row_the_beginning_and_the_end_are_compared(tmp_path: Path) -> None:
    writer = Writer(seed=9)
    start, middle, other, end = (writer.text(15_000) for _ in range(4))
    report = prepared(tmp_path, [any_row(f"{start} {middle} {end}"), any_row(f"{start} {other} {end}")])
    assert report.near_duplicates is not None
    assert report.near_duplicates.repeated == 1


def test_a_large_upload_is_compared_on_request_only(tmp_path: Path) -> None:
    rows = [any_row(SENTENCE), any_row(f"{SENTENCE}!")]
    with patch.object(preparation, "COMPARED_UNASKED", 100):
        assert prepared(tmp_path, rows).near_duplicates is None
        report = prepared(tmp_path, rows, drop=True)
    assert (report.rows.train, report.rows.dropped) == (1, 1)


def test_too_many_rows_are_not_dropped_in_silence(tmp_path: Path) -> None:
    rows = [any_row(SENTENCE), any_row(f"{SENTENCE}!")]
    with patch.object(join, "MAX_COMPARED", 1):
        assert prepared(tmp_path, rows).near_duplicates is None
        report = prepared(tmp_path, rows, drop=True)
    assert report.refusal is not None
    assert (report.refusal.code, report.rows.train) == ("ROWS_TOO_MANY", 2)
    assert "near_duplicates" in report.refusal.fix


def test_a_text_is_not_compared(tmp_path: Path) -> None:
    path = any_file(tmp_path, f"{SENTENCE}\n{SENTENCE}!\n".encode(), "data.txt")
    report = prepare_files([path], options=DataOptions(data=RowOptions(near_duplicates="drop")))
    assert (report.near_duplicates, report.rows.dropped) == (None, 0)


def test_the_report_says_what_was_found(tmp_path: Path) -> None:
    rows = [any_row(SENTENCE), any_row(f"{SENTENCE}!"), any_row(f"{SENTENCE}?")]
    (note,) = [note for note in prepared(tmp_path, rows).notes if "nearly" in note]
    assert note == (
        "Training rows that nearly repeat an earlier one: 2 of 3. "
        'Set "data": {"near_duplicates": "drop"} in run.json to leave them out.'
    )
    (note,) = [note for note in prepared(tmp_path, rows, drop=True).notes if "nearly" in note]
    assert note == "Training rows left out because they nearly repeat another row: 2."
    document = json.loads(prepared(tmp_path, rows).model_dump_json())
    assert document["near_duplicates"] == {"repeated": 2, "near_held_out": 0, "leaked": 0, "dropped": 0}
