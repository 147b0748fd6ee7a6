"""Variants of the kinds of faults in tests/data/misread: what is read, what is refused, and what decides."""

import gzip
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import HEAD_BYTES, detect_file
from finetuning.datasets.formats import is_data
from finetuning.datasets.join import join_shards
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import Columns, DataOptions, RowOptions
from finetuning.datasets.sides import Side, side_named, sides_of
from tests.builders.datasets import any_chat_rows, any_dialog, any_file, any_turn, as_lines, channel, report_of, rows_of

QUESTIONS = "".join(f"How do I open door {n}?,Turn handle {n} to the left.\n" for n in range(9))


def table(folder: Path, text: str, name: str = "data.csv", **data: Any) -> DatasetReport:
    return report_of(folder, text.encode(), name, data=RowOptions(**data))


@pytest.mark.parametrize(
    "header",
    ["Customer question,Agent reply", "Question (EN),Answer (EN)", "Ticket no.,Agent reply", "Frage,Antwort", "Q,A"],
)
def test_a_header_of_unknown_names_is_not_trained_on(tmp_path: Path, header: str) -> None:
    report = table(tmp_path, f"{header}\n{QUESTIONS}")
    assert report.error_counts == {ErrorCode.COLUMNS_UNKNOWN: 1}
    asked, answered = header.split(",")
    assert f'{{"prompt": "{asked}", "completion": "{answered}"}}' in report.errors[0].fix
    columns = Columns(prompt=asked, completion=answered)
    assert table(tmp_path, f"{header}\n{QUESTIONS}", columns=columns).rows.kept == 9


@pytest.mark.parametrize(
    "text",
    [
        QUESTIONS,
        "apple,Apfel\ntree,Baum\n",
        "Hi there,Hello friend\nGood day,And you\n",
        "2 + 2?,4\nWhat is six?,6\n",
        QUESTIONS.replace(",", ";").replace("\n", ";\n"),
        'Who said so?,"She, of course."\nWhy?,"So, that is it."\n',
    ],
)
def test_two_columns_without_a_header_are_questions_and_answers(tmp_path: Path, text: str) -> None:
    report = table(tmp_path, text)
    assert (report.ok, report.rows.kept, report.rows.errors) == (True, text.count("\n"), 0)
    assert "without a header" in report.understood[1]


def test_a_row_that_cannot_be_read_is_reported_and_not_its_known_columns(tmp_path: Path) -> None:
    report = table(tmp_path, 'question,answer\n"Who said so?,She did\n')
    assert report.error_counts == {ErrorCode.JSON_TRUNCATED: 1}
    assert report.errors[0].line == 2


def test_a_header_without_rows_is_refused_for_having_no_rows(tmp_path: Path) -> None:
    report = table(tmp_path, "question,answer\n\n")
    assert report.refusal
    assert (report.refusal.code, report.refusal.message) == (ErrorCode.NOTHING_USABLE, "The data has no rows.")
    assert report.errors == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1,One text of some words\n2,Another text of words\n", "data.csv"),
        ("2024-01-01,One text of some words\n2024-01-02,Another text of words\n", "data.csv"),
        ("T-1001;One text of some words\nT-1002;Another text of words\n", "data.csv"),
        ("It rains, and the wind comes in.\nIt snows, and the sun goes down.\n", "data.csv"),
        ("a b,c d,e f\nIt is.,It was.,It will be.\n", "data.csv"),
    ],
)
def test_what_may_be_something_else_is_refused_with_the_lines_that_choose(tmp_path: Path, text: str, name: str) -> None:
    report = table(tmp_path, text, name)
    assert report.error_counts == {ErrorCode.COLUMNS_UNKNOWN: 1}
    assert '"columns"' in report.errors[0].fix
    chosen = Columns(prompt="column 1", completion="column 2")
    assert table(tmp_path, text, name, columns=chosen).rows.kept == 2


def test_a_tab_is_the_delimiter_of_a_tsv_unless_a_known_header_says_otherwise(tmp_path: Path) -> None:
    prose = "It rains, and the wind comes in.\nIt snows, and the sun goes down.\n"
    assert table(tmp_path, prose, "data.tsv").rows.kept == 2
    assert {row["text"] for row in rows_of(tmp_path)} == set(prose.splitlines())
    assert table(tmp_path, f"question,answer\n{QUESTIONS}", "data.tsv").rows.kept == 9


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_excels_hint_names_the_delimiter_and_is_no_row(tmp_path: Path, first: str) -> None:
    report = table(tmp_path, f"{first}question;answer\nWhy, then?;So, that is it\n")
    assert (report.rows.kept, report.rows.lines) == (1, 1)
    assert rows_of(tmp_path, "train")[0]["dialog"] == [
        any_turn("user", "Why, then?"),
        any_turn("assistant", "So, that is it"),
    ]


@pytest.mark.parametrize("end", ["How do I op", 'Why?,"It is so beca'])
def test_a_table_that_was_cut_off_in_its_last_row_is_refused(tmp_path: Path, end: str) -> None:
    report = table(tmp_path, f"question,answer\n{QUESTIONS * 20}{end}")
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.JSON_TRUNCATED


@pytest.mark.parametrize("end", ['{"messages": [{"role": "us', '{"messages": [{"role": "user"}', '{"a": tru', "[1, "])
def test_json_lines_that_were_cut_off_in_the_last_line_are_refused(tmp_path: Path, end: str) -> None:
    data = as_lines(any_chat_rows(300)) + end.encode()
    for shard_bytes in (1 << 30, len(data) // 7):
        report = prepare_files([any_file(tmp_path, data)], shard_bytes=shard_bytes)
        assert report.error_counts == {ErrorCode.JSON_TRUNCATED: 1}
        assert report.refusal is not None


def test_the_same_line_with_its_end_is_one_bad_line(tmp_path: Path) -> None:
    report = report_of(tmp_path, [*any_chat_rows(300), b'{"messages": [{"role": "us'])
    assert (report.ok, report.error_counts) == (True, {ErrorCode.JSON_INVALID: 1})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ["a b", "c d"], "completion": ["e f", "g h"]},
        {"prompt": {"0": "a b", "1": "c d"}, "completion": {"0": "e f", "1": "g h"}},
        {"Frage": ["a b", "c d"], "Antwort": ["e f", "g h"]},
        {"0": {"prompt": "a", "completion": "b"}, "1": {"prompt": "c", "completion": "d"}},
        {"question": ["a b", "c d"], "answer": ["e f", "g h"], "source": "mail"},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_table_by_column_is_refused(tmp_path: Path, row: Any, indent: int | None) -> None:
    report = report_of(tmp_path, json.dumps(row, indent=indent).encode(), "data.json")
    assert report.error_counts == {ErrorCode.TABLE_BY_COLUMN: 1}


@pytest.mark.parametrize(
    "row",
    [
        {"input": ["Hello", "Bye"], "output": ["Good day", "So long"]},
        {"question": "Why?", "context": ["It is", "so"], "keywords": ["is", "so"], "answer": "Because."},
        {"prompt": [any_turn()], "completion": [any_turn("assistant", "Good day")]},
    ],
)
def test_a_single_row_with_lists_is_a_row(tmp_path: Path, row: Any) -> None:
    assert report_of(tmp_path, [row]).rows.train == 1


@pytest.mark.parametrize(
    "mark",
    [
        *({"weight": 0}, {"weight": 0.0}, {"loss_weight": 0}, {"train": False}, {"loss": False}, {"trainable": False}),
        *({"label": 0}, {"label": False}, {"label": "0"}, {"label": "False"}, {"deleted": True}, {"weight": "0"}),
    ],
)
@pytest.mark.parametrize("level", ["turn", "turn of ShareGPT", "row", "question and answer"])
def test_a_mark_with_a_meaning_is_never_an_unused_column(tmp_path: Path, mark: dict[str, Any], level: str) -> None:
    asked, answered = any_dialog()
    marked: Any = {
        "turn": {"messages": [asked, answered | mark]},
        "turn of ShareGPT": {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"} | mark]
        },
        "row": {"messages": [asked, answered]} | mark,
        "question and answer": {"prompt": "Hi", "completion": "Ho"} | mark,
    }[level]
    (code,) = report_of(tmp_path, [marked]).error_counts
    assert code in (ErrorCode.UNTRAINED_ANSWER, ErrorCode.REJECTED_ANSWER)
    dropped = report_of(tmp_path, [marked, *any_chat_rows(3)], data=RowOptions(untrained_answers="drop"))
    assert (dropped.ok, dropped.rows.dropped, dropped.rows.kept, dropped.rows.errors) == (True, 1, 3, 0)
    trained = report_of(tmp_path, [marked], data=RowOptions(untrained_answers="train"))
    assert (trained.ok, trained.rows.kept) == (True, 1)
    assert any("are trained on" in note for note in trained.notes)


def test_a_mark_of_a_question_and_a_mark_that_is_on_are_only_unused(tmp_path: Path) -> None:
    asked, answered = any_dialog()
    report = report_of(tmp_path, [{"messages": [asked | {"weight": 0}, answered | {"weight": 1}], "deleted": False}])
    assert (report.ok, report.ignored_columns) == (True, {"turn.weight": 2, "deleted": 1})


@pytest.mark.parametrize("rows", [any_chat_rows(1), any_chat_rows(1) * 3])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_a_single_row_is_trained_on(tmp_path: Path, rows: list[Any], fraction: float) -> None:
    report = report_of(tmp_path, rows, validation_fraction=fraction)
    assert (report.ok, report.rows.train, report.rows.validation) == (True, 1, 0)


@pytest.mark.parametrize("rows", [{"Prompt": "Why?", "COMPLETION": "So."}, {"Messages": any_dialog()}])
def test_columns_mean_the_same_in_any_capitals_and_any_format(tmp_path: Path, rows: Any) -> None:
    assert report_of(tmp_path, [rows]).rows.train == 1
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([rows]), written)
    assert report_of(tmp_path, written.getvalue(), "data.parquet").rows.train == 1


@pytest.mark.parametrize("compression", ["zstd", "lz4", "gzip", "snappy", "brotli"])
def test_a_parquet_file_of_any_compression_is_read(tmp_path: Path, compression: Any) -> None:
    written = io.BytesIO()
    rows = pyarrow.Table.from_pylist([{"prompt": f"Why {n}?", "completion": "So."} for n in range(9)])
    pyarrow.parquet.write_table(rows, written, compression=compression)
    assert report_of(tmp_path, written.getvalue(), "data.parquet").rows.kept == 9


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_first_row_beyond_the_head_is_read(tmp_path: Path, pack: Any) -> None:
    long = "word " * (HEAD_BYTES // 4)
    for row, name, task in (
        ({"text": long}, "data.jsonl", "domain_adaptation"),
        ({"instruction": long, "input": "", "output": "Yes"}, "data.json", "instruction"),
    ):
        path = tmp_path / (name + (".gz" if pack is gzip.compress else ""))
        path.write_bytes(pack(as_lines([row, row])))
        report = prepare_files([path])
        assert (report.ok, report.task) == (True, task)
    (tmp_path / "data.csv").write_text(f'nr,body\n1,"{long}"\n')
    assert detect_file(tmp_path / "data.csv").text_columns == ("body",)


@pytest.mark.parametrize(
    ("path", "side"),
    [
        ("train.jsonl", None),
        ("data/validation-00000-of-00001.parquet", Side.VALIDATION),
        ("my_val.csv", Side.VALIDATION),
        ("dev/part-0.json", Side.VALIDATION),
        ("test_sft.jsonl.gz", Side.TEST),
        ("eval.jsonl", Side.TEST),
        ("Test/0.jsonl", Side.TEST),
        ("test/train.jsonl", None),
        ("contest.jsonl", None),
        ("latest.jsonl", None),
        ("validated.jsonl", None),
        ("train_test.jsonl", None),
    ],
)
def test_a_side_is_a_whole_word_of_the_name(path: str, side: Side | None) -> None:
    assert (side_named(path) if side_named(path) is not Side.TRAIN else None) is side


def test_with_a_file_for_validation_nothing_is_held_out_of_the_others() -> None:
    assert sides_of(["a.jsonl", "test.jsonl"]) == [Side.SPLIT, Side.TEST]
    assert sides_of(["a.jsonl", "val.jsonl"]) == [Side.TRAIN, Side.VALIDATION]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/train-0.jsonl", True),
        ("part-0.JSON.gz", True),
        ("._chat.jsonl", False),
        ("_SUCCESS.json", False),
        ("__MACOSX/chat.jsonl", False),
        (".cache/chat.jsonl", False),
        ("dataset_infos.json", False),
        ("data/run.json", False),
        ("README.txt", False),
        ("notes.md", False),
    ],
)
def test_which_files_of_an_upload_are_data(path: str, expected: bool) -> None:
    assert is_data(path) is expected


def split_upload(folder: Path, shard_bytes: int = 1 << 30, suffix: str = "jsonl") -> DatasetReport:
    """Rows for training, of which row 1 is also a test and row 2 is also for validation."""
    files = {"train": [0, 1, 2, 3, 4, 4], "validation": [2, 10], "test": [1, 10, 20]}
    paths = []
    for name, numbers in files.items():
        rows = [any_chat_rows(21)[number] for number in numbers]
        lines = b"".join(f"Line {number}.\n".encode() for number in numbers)
        paths.append(any_file(folder, lines if suffix == "txt" else as_lines(rows), f"{name}.{suffix}"))
    return prepare_files(paths, folder / "out", shard_bytes=shard_bytes)


@pytest.mark.parametrize("shard_bytes", [1 << 30, 200, 60])
def test_the_uploads_own_split_is_kept_and_test_rows_are_never_trained_on(tmp_path: Path, shard_bytes: int) -> None:
    report = split_upload(tmp_path, shard_bytes)
    rows = report.rows
    assert (rows.train, rows.validation, rows.test, rows.duplicates) == (3, 1, 3, 4)
    about = {
        name: {row["dialog"][1]["content"] for row in rows_of(tmp_path, name)}
        for name in ("train", "validation", "test")
    }
    assert about["train"] == {f"A lot of {number}." for number in (0, 3, 4)}
    assert about["validation"] == {"A lot of 2."}
    assert about["test"] == {f"A lot of {number}." for number in (1, 10, 20)}
    assert report.statistics.test_tokens > 0
    assert report.understood[0].count("→") == 3


def test_the_uploads_own_split_of_a_text_is_kept(tmp_path: Path) -> None:
    report = split_upload(tmp_path, suffix="txt")
    assert (report.rows.train, report.rows.validation, report.rows.test) == (6, 2, 3)
    assert channel(tmp_path, "validation") == b"Line 2.\nLine 10.\n"
    assert channel(tmp_path, "test").strip() == b"Line 1.\nLine 10.\nLine 20."


@pytest.mark.parametrize("names", [["test.jsonl"], ["val.jsonl", "eval.jsonl"]])
def test_an_upload_without_a_file_for_training_is_refused(tmp_path: Path, names: list[str]) -> None:
    report = prepare_files([any_file(tmp_path, any_chat_rows(3), name) for name in names])
    assert report.error_counts == {ErrorCode.NO_TRAINING_FILE: 1}


def test_training_files_without_a_usable_row_are_refused(tmp_path: Path) -> None:
    paths = [any_file(tmp_path, [{"messages": []}], "train.jsonl"), any_file(tmp_path, any_chat_rows(300), "val.jsonl")]
    report = prepare_files(paths)
    assert report.refusal is not None
    assert (report.refusal.code, report.rows.train) == (ErrorCode.NOTHING_USABLE, 0)


def test_a_column_that_is_named_but_missing_is_an_error_with_the_rows_columns(tmp_path: Path) -> None:
    options = DataOptions(data=RowOptions(columns=Columns(prompt="Frage", completion="Antwort")))
    report = prepare_files([any_file(tmp_path, [{"frage": "Why?", "antwort": "So."}])], options=options)
    assert report.error_counts == {ErrorCode.COLUMN_MISSING: 1}
    assert "The row has: frage, antwort" in report.errors[0].message


@pytest.mark.parametrize(
    ("columns", "task", "said"),
    [
        ({"prompt": "a"}, "auto", "needs prompt and completion"),
        ({"text": "a", "prompt": "b"}, "auto", "cannot be combined"),
        ({"text": "a"}, "chat", "cannot be used for chat"),
        ({"prompt": "a", "completion": "b"}, "domain_adaptation", "cannot be used for domain_adaptation"),
    ],
)
def test_columns_that_cannot_be_used_are_refused(tmp_path: Path, columns: Any, task: str, said: str) -> None:
    options = DataOptions(task=task, data=RowOptions(columns=Columns(**columns)))
    report = prepare_files([any_file(tmp_path, [{"a": "Why?", "b": "So."}])], options=options)
    assert report.refusal is not None
    assert said in report.refusal.message


def test_the_system_column_is_put_before_the_prompt(tmp_path: Path) -> None:
    columns = Columns(prompt="a", completion="b", system="c")
    rows = [{"a": "Why?", "b": "So.", "c": "Be brief."}, {"a": "When?", "b": "Now.", "c": None}]
    assert report_of(tmp_path, rows, data=RowOptions(columns=columns)).ok
    assert sorted(len(row["dialog"]) for row in rows_of(tmp_path)) == [2, 3]


@pytest.mark.parametrize(("name", "said"), [("data.jsonl", "marks of a chat template"), ("data.txt", "marks of")])
def test_marks_of_a_template_in_a_text_are_said(tmp_path: Path, name: str, said: str) -> None:
    text = "[INST] Why? [/INST] So."
    data = as_lines([{"text": text}] * 3) if name == "data.jsonl" else f"{text}\n".encode() * 3
    assert any(said in note for note in report_of(tmp_path, data, name).notes)


def test_json_lines_in_a_file_named_txt_are_said(tmp_path: Path) -> None:
    notes = report_of(tmp_path, as_lines(any_chat_rows(3)), "data.txt").notes
    assert any("name it .jsonl" in note for note in notes)


def test_rows_with_special_tokens_are_counted_in_every_batch(tmp_path: Path) -> None:
    rows = [{"messages": any_dialog(f"{number} <|eot_id|>" if number % 7 == 0 else number)} for number in range(3000)]
    (note,) = [note for note in report_of(tmp_path, rows).notes if "special tokens" in note]
    assert f": {len(range(0, 3000, 7)):,}." in note


def test_as_many_shards_passes_and_duplicates_as_20_gb_have_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 GB are 75 shards of 256 MiB, with 7 million rows of 3 KB: 12 passes over the digests. Scaled to 3,000 rows."""
    rows = any_chat_rows(2900)
    for number in range(75):  # two rows of every shard are in another shard, too
        rows.insert(number * 39, rows[-1 - number])
    data = as_lines(rows)
    path = any_file(tmp_path, data)
    monkeypatch.setattr("finetuning.datasets.shard.DIGESTS_AT_ONCE", 250)
    monkeypatch.setattr("finetuning.datasets.join.DIGESTS_AT_ONCE", 250)
    monkeypatch.setattr("finetuning.datasets.offline.join_shards", partial(join_shards, at_once=250))
    found = []
    for shards in (1, 2, 8, 75):
        report = prepare_files([path], tmp_path / "out", shard_bytes=-(-len(data) // shards))
        found.append((report.model_dump(), channel(tmp_path), channel(tmp_path, "validation")))
    assert report.rows.duplicates == 75
    assert all(each == found[0] for each in found)
