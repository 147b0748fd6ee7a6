"""From files to channels and a report: every line is counted, and the bytes are the same for any number of shards."""

import gzip
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from finetuning.datasets import framing, join, offline, shard
from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.detection import detect
from finetuning.datasets.formats import Detection, Framing
from finetuning.datasets.held_out import held_out_prompts
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.preparation import MAX_CALLS, Preparation, SourceFile, prepare
from finetuning.datasets.resolution import resolve
from finetuning.datasets.shard_result import Rows
from finetuning.datasets.templates import rendered
from finetuning.datasets.workspace import Folder
from finetuning.jumpstart.family import Task
from tests.builders.datasets import (
    any_chat_rows,
    any_dialog,
    any_file,
    any_turn,
    as_lines,
    channel,
    report_of,
    rows_of,
)
from tests.shared import SHARED, needs_shared

LENIENT = 1.0


def adds_up(report: DatasetReport) -> bool:
    rows = report.rows
    return (
        rows.kept + rows.duplicates + rows.errors + rows.blank == rows.lines
        and rows.train + rows.validation == rows.kept
        and sum(report.error_counts.values()) == rows.errors
        and sum(file.lines for file in report.files) == rows.lines
    )


BAD_LINES: dict[bytes, ErrorCode] = {
    b'{"messages": [': ErrorCode.JSON_INVALID,
    b'{"messages": NaN}': ErrorCode.JSON_CONSTANT,
    b'{"messages": [{"role": "user", "content": "\\ud83d"}]}': ErrorCode.JSON_SURROGATE,
    b'{"messages": [{"role": "user", "content": "a\0b"}]}': ErrorCode.NUL,
    b'{"messages": [{"role": "user", "content": "a\\u0000b"}, {"role": "assistant", "content": "c"}]}': ErrorCode.NUL,
    b'{"messages": [{"role": "user", "content": "caf\xe9"}]}': ErrorCode.ENCODING,
    b"{'messages': [{'role': 'user', 'content': 'Hello'}]}": ErrorCode.PYTHON_LITERAL,
    b"[" * 100_000 + b"]" * 100_000: ErrorCode.JSON_TOO_DEEP,
    b'{"messages": [], "messages": [1]}': ErrorCode.SHAPE_UNKNOWN,
    b'{"messages":[{"role":"user","content":"a","content":"b"},{"role":"assistant","content":"c"}]}': (
        ErrorCode.JSON_DUPLICATE_KEY
    ),
    b'{"messages": [{"role": "user", "content": "Hello"}]}': ErrorCode.NO_ASSISTANT,
    b'"a string"': ErrorCode.SHAPE_UNKNOWN,
    b"garbage": ErrorCode.JSON_INVALID,
}


@pytest.mark.parametrize(("line", "code"), BAD_LINES.items(), ids=list(map(str, BAD_LINES.values())))
def test_a_bad_line_is_reported_with_its_number_and_code(tmp_path: Path, line: bytes, code: ErrorCode) -> None:
    rows: list[Any] = any_chat_rows(9)
    report = report_of(tmp_path, [*rows[:6], line, *rows[6:]], max_error_fraction=LENIENT)
    assert [(error.line, error.code) for error in report.errors] == [(7, code)]
    assert report.errors[0].fix
    assert report.rows.kept == 9
    assert adds_up(report)


WITH_NUL: dict[str, Any] = {
    "messages[1].content": {"messages": [any_turn("user", "A"), any_turn("assistant", "b\0")]},
    "conversations[1].value": {"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "b\0"}]},
    "messages[0].content[1].text": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "b\0"}]},
            any_turn("assistant", "c"),
        ]
    },
    "response": {"instruction": "A", "response": "b\0"},
}


@pytest.mark.parametrize(("path", "row"), WITH_NUL.items(), ids=WITH_NUL)
def test_a_nul_is_reported_with_its_path_in_any_layout(tmp_path: Path, path: str, row: Any) -> None:
    report = report_of(tmp_path, [row, row], max_error_fraction=LENIENT)
    assert [(error.code, error.path) for error in report.errors] == [(ErrorCode.NUL, path)] * 2


def test_a_written_out_escape_is_not_a_nul(tmp_path: Path) -> None:
    report = report_of(tmp_path, [{"messages": [any_turn("user", r"What is \u0000?"), any_turn("assistant", "NUL")]}])
    assert report.ok


def test_a_deep_value_beside_a_good_dialog_is_ignored(tmp_path: Path) -> None:
    deep = b"[" * 900 + b"]" * 900
    line = b'{"messages": [{"role":"user","content":"a"},{"role":"assistant","content":"b"}], "x" : ' + deep + b"}"
    report = report_of(tmp_path, [*any_chat_rows(3), line], max_error_fraction=LENIENT)
    assert report.rows.kept + report.rows.errors == 4


def test_too_many_errors_refuse_the_data_and_the_message_names_the_lines(tmp_path: Path) -> None:
    rows: list[Any] = any_chat_rows(39)
    report = report_of(tmp_path, [*rows[:6], b'{"messages": [', *rows[6:]])
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.TOO_MANY_ERRORS
    assert "line 7" in report.refusal.message
    assert "max_error_fraction" in report.refusal.fix
    assert channel(tmp_path) == b""


def test_rows_that_are_marked_as_not_to_be_learned_are_refused_with_the_setting_for_them(tmp_path: Path) -> None:
    marked = {"messages": [any_turn("user", "a"), {**any_turn("assistant", "b"), "weight": 0}]}
    report = report_of(tmp_path, [*any_chat_rows(9), marked])
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.TOO_MANY_ERRORS
    assert '"untrained_answers": "drop"' in report.refusal.fix
    assert "max_error_fraction" not in report.refusal.fix


def test_exactly_the_allowed_errors_do_not_refuse_the_data(tmp_path: Path) -> None:
    report = report_of(tmp_path, [*any_chat_rows(99), b"garbage"])
    assert report.ok
    assert report.rows.errors == 1


def test_nothing_usable_is_refused(tmp_path: Path) -> None:
    report = report_of(tmp_path, [b"garbage", b"more"], max_error_fraction=LENIENT)
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.NOTHING_USABLE


def test_rows_that_differ_in_escapes_key_order_or_line_ends_are_duplicates(tmp_path: Path) -> None:
    raw = '{"messages":[{"role":"user","content":"Café?"},{"role":"assistant","content":"Oui"}]}'
    escaped = json.dumps(json.loads(raw)) + "\r"
    turned = json.dumps({"messages": [dict(reversed(turn.items())) for turn in json.loads(raw)["messages"]]})
    report = report_of(tmp_path, [line.encode() for line in (raw, escaped, turned)])
    assert (report.rows.kept, report.rows.duplicates) == (1, 2)
    assert json.loads(channel(tmp_path))["dialog"][0] == any_turn("user", "Café?")


def test_a_key_written_twice_with_the_same_value_is_accepted(tmp_path: Path) -> None:
    line = b'{"messages":[{"role":"user","content":"a","content":"a"},{"role":"assistant","content":"c"}]}'
    assert report_of(tmp_path, [line]).ok


def test_ninety_nine_equal_rows_of_a_hundred_leave_two(tmp_path: Path) -> None:
    report = report_of(tmp_path, [*any_chat_rows(1) * 99, *any_chat_rows(2)[1:]])
    assert (report.rows.kept, report.rows.duplicates) == (2, 98)
    assert (report.rows.train, report.rows.validation) == (1, 1)


def test_a_single_row_is_trained_on_and_none_is_held_out(tmp_path: Path) -> None:
    report = report_of(tmp_path, any_chat_rows(1))
    assert (report.rows.train, report.rows.validation) == (1, 0)
    assert any("held out" in note for note in report.notes)
    assert not (tmp_path / "out" / "validation").exists()


def test_the_order_does_not_change_which_rows_are_held_out(tmp_path: Path) -> None:
    rows = any_chat_rows(200)
    report_of(tmp_path, rows)
    before = set(channel(tmp_path, "validation").splitlines())
    random.Random(1).shuffle(rows)
    report_of(tmp_path, rows[:150])
    after = set(channel(tmp_path, "validation").splitlines())
    assert after < before


def test_good_rows_of_an_array_are_kept_beside_bad_ones(tmp_path: Path) -> None:
    good = [json.dumps(row) for row in any_chat_rows(4)]
    text = "[\n" + ",\n".join([*good[:2], '{"messages": NaN}', '{"messages": [{]}', *good[2:]]) + "\n]"
    report = report_of(tmp_path, text.encode(), "data.json", max_error_fraction=LENIENT)
    assert [(error.line, error.code) for error in report.errors] == [
        (4, ErrorCode.JSON_CONSTANT),
        (5, ErrorCode.JSON_INVALID),
    ]
    assert report.rows.kept == 4
    assert adds_up(report)


def test_an_object_outside_the_array_is_an_error(tmp_path: Path) -> None:
    array = json.dumps(any_chat_rows(3)).encode()
    report = report_of(
        tmp_path, array + b' {"prompt": "Hi, you", "completion": "Hi"}', "data.json", max_error_fraction=LENIENT
    )
    assert report.rows.kept == 3
    assert [error.message for error in report.errors] == ["This text is outside the array of rows."]


@pytest.mark.parametrize("name", ["data.json", "data.jsonl.gz"])
def test_an_incomplete_file_is_refused_even_with_few_errors(tmp_path: Path, name: str) -> None:
    rows = any_chat_rows(1000)
    whole = json.dumps(rows).encode() if name == "data.json" else gzip.compress(as_lines(rows))
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) * 3 // 4])
    report = prepare_files([path], options=DataOptions(max_error_fraction=LENIENT))
    assert report.refusal is not None
    assert report.refusal.code in (ErrorCode.JSON_TRUNCATED, ErrorCode.COMPRESSION)
    assert report.rows.kept > 100
    assert adds_up(report)


def test_a_line_over_the_limit_is_an_error_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "MAX_RECORD", 2000)
    long = json.dumps({"messages": [any_turn("user", "x" * 3_000_000), any_turn("assistant")]}).encode()
    report = report_of(tmp_path, [*any_chat_rows(2), long, *any_chat_rows(4)[2:]], max_error_fraction=LENIENT)
    assert [(error.line, error.code) for error in report.errors] == [(3, ErrorCode.LINE_TOO_LONG)]
    assert report.rows.kept == 4


def test_a_table_with_quoted_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = '\ufeffWhat is it?,"A cat,\r\nI think"\r\nAnd ""this""?,A dog\r\n'.replace('""this""', "that")
    report_of(tmp_path, text.encode(), "data.csv", task="chat")
    dialogs = sorted(row["dialog"][1]["content"] for row in rows_of(tmp_path))
    assert dialogs == ["A cat,\r\nI think", "A dog"]


def test_rows_of_a_table_that_are_too_wide_or_badly_quoted_are_errors(tmp_path: Path) -> None:
    text = 'prompt,completion\na,b\nc,d,e\n"f"g,h\ni,j\n'
    report = report_of(tmp_path, text.encode(), "data.csv", max_error_fraction=LENIENT)
    assert [(error.line, error.code) for error in report.errors] == [
        (3, ErrorCode.CSV_COLUMNS),
        (4, ErrorCode.CSV_INVALID),
    ]
    assert report.rows.kept == 2
    assert adds_up(report)


def test_a_table_in_latin_1_is_reported_as_such(tmp_path: Path) -> None:
    text = "prompt,completion\nUn café?,Oui\n".encode("latin-1")
    report = report_of(tmp_path, text, "data.csv", max_error_fraction=LENIENT)
    assert "Latin-1" in report.errors[0].message


def test_text_is_unchanged_and_its_end_is_held_out(tmp_path: Path) -> None:
    text = "".join(f"Line {number}, once more.\n\n" for number in range(100)).encode() + b"The end"
    report = report_of(tmp_path, text, "book.txt")
    assert channel(tmp_path) + channel(tmp_path, "validation") == text
    assert (report.rows.lines, report.rows.kept, report.rows.blank) == (201, 101, 100)
    assert report.rows.validation == len([line for line in channel(tmp_path, "validation").split(b"\n") if line])
    assert 5 < report.rows.validation < 20
    assert adds_up(report)


@pytest.mark.parametrize(("lines", "held_out"), [(1, 0), (2, 1), (3, 1)])
def test_of_two_lines_of_text_one_is_held_out(tmp_path: Path, lines: int, held_out: int) -> None:
    report = report_of(tmp_path, b"A line of text.\n" * lines, "book.txt")
    assert (report.rows.train, report.rows.validation) == (lines - held_out, held_out)


def test_several_texts_become_one_file(tmp_path: Path) -> None:
    paths = [any_file(tmp_path, b"One", "1.txt"), any_file(tmp_path, b"Two\n", "2.txt")]
    prepare_files(paths, tmp_path / "out")
    assert channel(tmp_path) + channel(tmp_path, "validation") == b"One\nTwo\n"


def test_parquet_with_lists_and_nulls_is_read(tmp_path: Path) -> None:
    rows = [{"messages": any_dialog(number), "score": None} for number in range(20)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data.parquet")
    report = prepare_files([tmp_path / "data.parquet"], tmp_path / "out")
    assert (report.task, report.rows.kept, report.files[0].format) == (Task.CHAT, 20, "parquet")


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_every_codec_of_parquet_is_read(tmp_path: Path, codec: str) -> None:
    """Polars writes zstd, Spark and pandas snappy; the layer is of the release that is tested here."""
    rows = pyarrow.Table.from_pylist([{"messages": any_dialog(number)} for number in range(20)])
    pyarrow.parquet.write_table(rows, tmp_path / "data.parquet", compression=codec)
    report = prepare_files([tmp_path / "data.parquet"], tmp_path / "out")
    assert (report.task, report.rows.kept) == (Task.CHAT, 20)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    report = report_of(tmp_path, b"PAR1 and no more", "data.parquet")
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.PARQUET_DAMAGED


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([b"caf\xe9"]).cast(pyarrow.string(), safe=False),
        pyarrow.array([1 << 49], pyarrow.timestamp("ms")),
    ],
    ids=["a text that is not UTF-8", "a time after the year 9999"],
)
def test_a_parquet_file_with_a_value_that_cannot_be_read_is_refused(tmp_path: Path, column: Any) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "data.parquet")
    report = prepare_files([tmp_path / "data.parquet"], tmp_path / "out")
    assert report.refusal is not None
    assert report.refusal.code == ErrorCode.PARQUET_DAMAGED


def test_instruction_channels_have_their_template(tmp_path: Path) -> None:
    report = report_of(tmp_path, [{"instruction": "Add", "input": str(number), "output": "7"} for number in range(50)])
    assert report.task is Task.INSTRUCTION
    for name in ("train", "validation"):
        template = json.loads((tmp_path / "out" / name / "template.json").read_bytes())
        assert set(template) == {"prompt", "completion"}
        assert sorted(path.name for path in (tmp_path / "out" / name).iterdir()) == ["data.jsonl", "template.json"]
    assert "### Response:\n7" in report.samples[0]


def test_the_report_counts_rows_that_training_would_cut_off(tmp_path: Path) -> None:
    rows = [{"messages": [any_turn("user", "word " * length), any_turn("assistant", "Yes")]} for length in (10, 4000)]
    report = report_of(tmp_path, rows, max_input_length=1000)
    statistics = report.statistics
    assert statistics.truncated == 1
    assert statistics.longest[0].line == 2
    assert sum(bucket.rows for bucket in statistics.histogram) == 2
    assert statistics.scripts == {"Latin": 2}
    assert statistics.turns == 4


@pytest.mark.parametrize(
    ("text", "script"), [("你好吗，我很好", "Han"), ("Привет, как дела", "Cyrillic"), ("こんにちは世界", "Japanese")]
)
def test_the_script_of_a_row(tmp_path: Path, text: str, script: str) -> None:
    report = report_of(tmp_path, [{"messages": [any_turn("user", text * 9), any_turn("assistant", text * 9)]}])
    assert report.statistics.scripts == {script: 1}


def test_held_out_rows_become_prompts_with_their_references(tmp_path: Path) -> None:
    rows = report_of(tmp_path, any_chat_rows(100)).rows
    preparation = _preparation_of(Task.CHAT)
    prompts = list(held_out_prompts(preparation, Folder(tmp_path / "out"), "", rows, 3))
    assert len(prompts) == 3
    first = prompts[0]
    assert first["prompt"].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert first["messages"][-1]["role"] == "user"
    assert first["reference"].startswith("A lot of")


SEEN_OR_NOT: dict[Task, Callable[[int], Any]] = {
    Task.CHAT: lambda number: {"messages": any_dialog(number)},
    Task.INSTRUCTION: lambda number: {"instruction": "Count.", "context": f"To {number}.", "response": f"{number}!"},
    Task.DOMAIN_ADAPTATION: lambda number: f"The year {number} was a good one, and a long one.".encode(),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    task=st.sampled_from(list(SEEN_OR_NOT)),
    numbers=st.lists(st.integers(0, 40), min_size=2, max_size=80),
    fraction=st.sampled_from([0.1, 0.3, 0.5]),
)
def test_no_prompt_of_the_evaluation_was_trained_on(
    tmp_path: Path, task: Task, numbers: list[int], fraction: float
) -> None:
    path = any_file(
        tmp_path,
        [SEEN_OR_NOT[task](n) for n in numbers],
        "data.txt" if task is Task.DOMAIN_ADAPTATION else "data.jsonl",
    )
    options = DataOptions(task=task, validation_fraction=fraction)
    report = prepare_files([path], tmp_path / "out", options=options)
    if not report.rows.validation:
        return
    size = path.stat().st_size
    source = SourceFile(name=path.name, key=path.name, size=size, detection=detect(path.read_bytes(), path.name, size))
    preparation = prepare([source], resolve([(path.name, source.detection)], options), options)
    lines = channel(tmp_path).splitlines()
    template, family = preparation.template, preparation.family
    trained = {_digest(line.decode() if preparation.is_text else rendered(json.loads(line), template, family))
               for line in lines}  # fmt: skip
    for asked in held_out_prompts(preparation, Folder(tmp_path / "out"), "", report.rows, 20):
        end = "<|eot_id|>" if task is Task.CHAT else ""
        assert _digest(asked["prompt"] + asked["reference"] + end) not in trained


def test_a_line_of_text_that_was_trained_on_is_not_a_prompt(tmp_path: Path) -> None:
    lines = [f"Line {number} of the old harbour's chronicle." for number in range(9)]
    for name, content in (("train", lines), ("validation", [*lines[:3], "A line that is in no other file."])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.txt").write_text("\n".join(content))
    text = SourceFile(name="a.txt", key="a.txt", size=9, detection=Detection(framing=Framing.TEXT))
    preparation = _preparation_of(Task.DOMAIN_ADAPTATION).model_copy(update={"files": (text,)})
    (asked,) = held_out_prompts(preparation, Folder(tmp_path), "", Rows(validation=9), 3)
    assert asked["prompt"] + asked["reference"] == "A line that is in no other file."


def _digest(rendered_row: str) -> str:
    return hashlib.sha256(rendered_row.encode()).hexdigest()


def _preparation_of(task: Task) -> Preparation:
    return Preparation.model_validate({"files": [], "shards": [], "resolution": {"task": task}, "options": {}})


# -- whatever comes --------------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.sampled_from([json.dumps(row).encode() for row in any_chat_rows(12)]),
    st.sampled_from([line for line in BAD_LINES if len(line) < 1000]),
    st.sampled_from([b"", b"  ", b"\r"]),
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(LINES, min_size=1, max_size=60), open_end=st.booleans())
def test_every_line_is_counted_with_any_number_of_shards(tmp_path: Path, found: list[bytes], open_end: bool) -> None:
    data = b'{"messages": []}\n' + b"\n".join(found) + (b"" if open_end and found[-1] else b"\n")
    path = any_file(tmp_path, data)
    outcomes = []
    for shards in (1, 2, 8):
        size = -(-len(data) // shards)
        options = DataOptions(max_error_fraction=LENIENT)
        report = prepare_files([path], tmp_path / "out", options=options, shard_bytes=size)
        assert adds_up(report)
        assert report.rows.lines == len(found) + 1
        outcomes.append((channel(tmp_path), channel(tmp_path, "validation"), report.model_dump_json()))
    assert outcomes[0] == outcomes[1] == outcomes[2]


SOME_ARE_LONGER = 28
"""Tokens that some rows of `_rows_about` exceed."""


def _rows_about(numbers: list[int]) -> bytes:
    """Rows of two scripts and of several lengths."""
    return as_lines([{"messages": any_dialog(f"числе {number}" if number % 2 else number)} for number in numbers])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(st.integers(0, 400), min_size=2, max_size=300), shards=st.sampled_from([2, 3, 8]))
def test_duplicates_between_shards_are_dropped_as_in_one_shard(tmp_path: Path, kept: list[int], shards: int) -> None:
    data = _rows_about(kept)
    path = any_file(tmp_path, data)
    alone = prepare_files([path], tmp_path / "out", max_input_length=SOME_ARE_LONGER)
    expected = channel(tmp_path), channel(tmp_path, "validation")
    shard_bytes = -(-len(data) // shards)
    together = prepare_files([path], tmp_path / "out", shard_bytes=shard_bytes, max_input_length=SOME_ARE_LONGER)
    assert (channel(tmp_path), channel(tmp_path, "validation")) == expected
    assert together.model_dump() == alone.model_dump()
    assert together.rows.validation >= 1 or together.rows.kept == 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kept=st.lists(st.integers(0, 400), min_size=2, max_size=300),
    shards=st.sampled_from([1, 2]),
    known=st.sampled_from([1, 20, 200]),
)
@example(kept=[1, 1, 2, 1, 0], shards=1, known=1)
@example(kept=[7, 300] * 40 + [1, 2, 3, 4], shards=1, known=1)
def test_duplicates_are_found_when_a_shard_has_forgotten_the_first_of_them(
    tmp_path: Path, kept: list[int], shards: int, known: int
) -> None:
    data = _rows_about(kept)
    path = any_file(tmp_path, data)
    in_one_go = prepare_files([path], tmp_path / "out", max_input_length=SOME_ARE_LONGER)
    expected = channel(tmp_path), channel(tmp_path, "validation")
    with (
        patch.object(offline, "BUFFER", 256),
        patch.object(shard, "DIGESTS_AT_ONCE", known),
        patch.object(join, "DIGESTS_AT_ONCE", known),
    ):
        shard_bytes = -(-len(data) // shards)
        piecemeal = prepare_files([path], tmp_path / "out", shard_bytes=shard_bytes, max_input_length=SOME_ARE_LONGER)
    assert (channel(tmp_path), channel(tmp_path, "validation")) == expected
    assert piecemeal.model_dump() == in_one_go.model_dump()


# -- the samples -----------------------------------------------------------------------------------------------------

SAMPLES: dict[str, tuple[Task | None, int, dict[str, int]]] = {
    "alpaca_en_demo.json": (Task.INSTRUCTION, 999, {}),
    "bare_arrays.jsonl": (Task.CHAT, 128, {}),
    "code_alpaca_2k.json": (Task.INSTRUCTION, 2017, {"CONTENT_EMPTY": 2}),
    "content_blocks.jsonl": (Task.CHAT, 500, {}),
    "git_lfs_pointer.jsonl": (None, 0, {"GIT_LFS_POINTER": 1}),
    "headerless_bom.csv": (Task.CHAT, 155, {"CONTENT_EMPTY": 1}),
    "oasst_top1_text.jsonl": (Task.CHAT, 100, {}),
    "openai_chat_crlf.jsonl": (Task.CHAT, 128, {}),
    "prompt_completion.jsonl": (Task.CHAT, 1000, {}),
    "sharegpt_array.json": (Task.CHAT, 500, {}),
    "sharegpt_toolcalls.json": (Task.CHAT, 300, {"ROLE_TOOL": 191}),
    "text.parquet": (Task.DOMAIN_ADAPTATION, 6, {}),
    "wiki.txt": (Task.DOMAIN_ADAPTATION, 30, {}),
}


@needs_shared
@pytest.mark.parametrize("name", SAMPLES)
def test_real_files(tmp_path: Path, name: str) -> None:
    task, lines, errors = SAMPLES[name]
    report = prepare_files([SHARED / "data" / "samples" / name], tmp_path / "out")
    assert (report.task, report.rows.lines, report.error_counts) == (task, lines, errors)
    assert report.ok == (name not in ("git_lfs_pointer.jsonl", "sharegpt_toolcalls.json"))
    assert adds_up(report) or not lines


def planned_calls(sizes: list[int], shard_bytes: int) -> list[list[int]]:
    """The sizes that each call prepares, of JSON Lines files of these sizes."""
    detection = detect(b'{"text": "one"}\n{"text": "two"}\n', "a.jsonl", 34)
    files = [SourceFile(name="a", key=f"{number}", size=size, detection=detection) for number, size in enumerate(sizes)]
    found = prepare(
        files, resolve([("a", detection)] * len(files), DataOptions()), DataOptions(), shard_bytes=shard_bytes
    )
    size = lambda shard: (sizes[shard.file] if shard.end is None else shard.end) - shard.start  # noqa: E731
    calls = [[size(shard) for shard in found.shards_of_call(first)] for first in found.calls]
    assert sum(map(len, calls)) == len(found.shards)
    assert sum(map(sum, calls)) == sum(sizes)
    return calls


def test_small_files_are_prepared_together() -> None:
    calls = planned_calls([1000] * 3500, 256 << 20)
    assert len(calls) == 1
    assert planned_calls([200, 100, 100, 300], 300) == [[200, 100], [100], [300]]


@pytest.mark.parametrize("sizes", [[10 << 30], [3 << 20] * 3500, [1 << 20] * 3500, [1, 1 << 30] * 500])
def test_the_smallest_shards_allowed_do_not_need_more_calls_than_an_execution_has_events_for(sizes: list[int]) -> None:
    assert len(planned_calls(sizes, 1 << 20)) <= MAX_CALLS


def test_a_run_that_was_planned_without_calls_prepares_one_shard_at_a_time() -> None:
    shards = [{"number": number, "file": 0} for number in range(3)]
    earlier = Preparation.model_validate({"files": [], "shards": shards, "resolution": {"task": "chat"}, "options": {}})
    assert [shard.number for shard in earlier.shards_of_call(1)] == [1]
