"""What a file is, and what a set of files is trained for."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from finetuning.datasets.csv_dialect import csv_dialect
from finetuning.datasets.data_errors import ErrorCode
from finetuning.datasets.detection import detect
from finetuning.datasets.formats import Detection, Format, Framing
from finetuning.datasets.options import DataOptions
from finetuning.datasets.resolution import resolve
from finetuning.jumpstart.family import Task
from tests.builders.datasets import any_chat_rows, any_dialog, as_lines

CHAT = as_lines(any_chat_rows(5))
ALPACA = as_lines([{"instruction": "Add", "input": "", "output": str(number)} for number in range(5)])
HISTORY = as_lines([{"instruction": "Add", "input": "", "output": "7", "history": [["a", "b"]]}])


def found(data: bytes, name: str = "data.jsonl") -> Detection:
    return detect(data, name, len(data))


@pytest.mark.parametrize(
    ("data", "name", "framing"),
    [
        (CHAT, "data.jsonl", Framing.LINES),
        (CHAT, "data.json", Framing.LINES),
        (CHAT, "data.ndjson", Framing.LINES),
        (CHAT.replace(b"\n", b"\r\n"), "data.jsonl", Framing.LINES),
        (b"\xef\xbb\xbf" + CHAT, "data.jsonl", Framing.LINES),
        (b"\n\n" + CHAT, "data.jsonl", Framing.LINES),
        (json.dumps(any_chat_rows(3)).encode(), "data.json", Framing.ARRAY),
        (json.dumps(any_chat_rows(3), indent=2).encode(), "data.json", Framing.ARRAY),
        (json.dumps(any_chat_rows(3)).encode(), "data.jsonl", Framing.ARRAY),
        (json.dumps([any_dialog(), any_dialog()]).encode(), "data.json", Framing.ARRAY),
        (json.dumps(any_chat_rows(1)[0], indent=2).encode(), "data.json", Framing.DOCUMENT),
        (json.dumps(any_dialog(), indent=2).encode(), "data.json", Framing.DOCUMENT),
        (as_lines([any_dialog(), any_dialog()]), "data.jsonl", Framing.LINES),
        (as_lines([any_dialog()]), "data.jsonl", Framing.LINES),
        (CHAT[:20] + b"\n" + CHAT, "data.jsonl", Framing.LINES),
        (b"{'messages': []}\n" * 3, "data.jsonl", Framing.LINES),
        (b"Once upon a time", "data.txt", Framing.TEXT),
        (CHAT[:30], "data.txt", Framing.TEXT),
        (b"PAR1....", "data.parquet", Framing.PARQUET),
        (b"PAR1....", "data", Framing.PARQUET),
    ],
)
def test_the_arrangement_of_records_is_recognised(data: bytes, name: str, framing: Framing) -> None:
    assert found(data, name).framing is framing
    assert found(data, name).refusal is None


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "data.jsonl", ErrorCode.FILE_EMPTY),
        (b"\xef\xbb\xbf \r\n", "data.jsonl", ErrorCode.FILE_EMPTY),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:2d\n", "data.jsonl", ErrorCode.GIT_LFS_POINTER),
        (b"<!DOCTYPE html><html>", "data.json", ErrorCode.WEB_PAGE),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "data.csv", ErrorCode.WEB_PAGE),
        (CHAT.decode().encode("utf-16"), "data.jsonl", ErrorCode.ENCODING),
        (CHAT.decode().encode("utf-16-le"), "data.jsonl", ErrorCode.ENCODING),
        (CHAT.decode().encode("utf-32"), "data.jsonl", ErrorCode.ENCODING),
        (b"PK\x03\x04....", "data.jsonl", ErrorCode.ARCHIVE),
        (b"\x1f\x8b but no gzip", "data.jsonl.gz", ErrorCode.COMPRESSION),
        (b"no Parquet", "data.parquet", ErrorCode.FORMAT_UNKNOWN),
        (b"what is this", "data.bin", ErrorCode.FORMAT_UNKNOWN),
        (b"Yes it is,that is,why not so\nOne more,two words,three of them\n", "data.csv", ErrorCode.COLUMNS_UNKNOWN),
    ],
)  # fmt: skip
def test_a_file_that_is_not_data_is_refused_with_its_own_code(data: bytes, name: str, code: ErrorCode) -> None:
    detection = found(data, name)
    assert detection.refusal is code
    assert detection.message
    assert detection.fix


@pytest.mark.parametrize(("head", "name"), [(b"%PDF-1.7\n", "manual.pdf"), (b"PK\x03\x04....", "manual.docx")])
def test_the_fix_for_a_document_is_to_export_its_text(head: bytes, name: str) -> None:
    assert "Export text from a PDF or Word document" in found(head, name).fix


def test_utf_16_and_utf_32_are_distinguished() -> None:
    assert "UTF-16" in found("hello".encode("utf-16")).message
    assert "UTF-32" in found("hello".encode("utf-32")).message


def test_a_compressed_file_is_detected_by_its_content() -> None:
    detection = found(gzip.compress(CHAT), "data.jsonl.gz")
    assert detection.compressed
    assert detection.shape == "OpenAI chat"
    assert not detection.splittable


@pytest.mark.parametrize(
    ("text", "delimiter", "columns", "has_header"),
    [
        ("question,answer\nWhat is it?,A cat\n", ",", ("question", "answer"), True),
        ("Prompt;Completion\nHi;Hello\n", ";", ("prompt", "completion"), True),
        ("prompt\tcompletion\nHi\tHello, you\n", "\t", ("prompt", "completion"), True),
        ('What is it?,"A cat, I think"\nAnd this?,"A dog\nor two"\n', ",", ("question", "answer"), False),
        ("text\nOnce upon a time, there was a king\n", ",", ("text",), True),
        ("title,body\nA,It was a dark and stormy night at sea\n", ",", ("title", "body"), True),
    ],
)
def test_the_delimiter_and_the_header_of_a_table(
    text: str, delimiter: str, columns: tuple[str, ...], has_header: bool
) -> None:
    detection = found(text.encode(), "data.csv")
    assert (detection.delimiter, detection.columns, detection.has_header) == (delimiter, columns, has_header)


@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
def test_the_reason_names_the_suffix_of_a_table(name: str) -> None:
    assert found(b"prompt\tcompletion\nHi\tHello, you\n", name).why.startswith(f"it is named .{name[-3:]} and")


@pytest.mark.parametrize(
    ("data", "asked", "supported", "task", "convertible"),
    [
        (CHAT, "auto", list(Task), Task.CHAT, False),
        (ALPACA, "auto", list(Task), Task.INSTRUCTION, False),
        (ALPACA, "auto", [Task.CHAT, Task.DOMAIN_ADAPTATION], Task.CHAT, True),
        (ALPACA, "chat", list(Task), Task.CHAT, True),
        (ALPACA + HISTORY, "auto", list(Task), Task.CHAT, True),
        (as_lines([{"text": "Once upon a time"}]), "auto", list(Task), Task.DOMAIN_ADAPTATION, False),
        (CHAT, "instruction", list(Task), Task.INSTRUCTION, True),
        (as_lines([{"question": "Who?", "answer": "Me"}]), "auto", list(Task), Task.CHAT, False),
    ],
)
def test_the_task_follows_from_the_request_the_data_and_the_model(
    data: bytes, asked: str, supported: list[str], task: Task, convertible: bool
) -> None:
    resolution = resolve([("data.jsonl", found(data))], DataOptions(task=asked), supported=supported)
    assert (resolution.task, resolution.convertible, resolution.refusal) == (task, convertible, None)
    assert resolution.why


def resolved_table(text: str, task: str = "auto") -> Any:
    return resolve([("data.csv", found(text.encode(), "data.csv"))], DataOptions(task=task))


def test_the_only_text_column_is_used_and_named() -> None:
    resolution = resolved_table("nr,body\n1,It was a dark and stormy night at sea\n2,And then came the day after it\n")
    assert resolution.task is Task.DOMAIN_ADAPTATION
    assert resolution.text_columns == ("body",)
    assert "body" in resolution.why


def test_several_text_columns_are_refused_and_listed() -> None:
    resolution = resolved_table("nr,body,note\n1,It was a dark and stormy night,Somebody wrote this down at sea\n")
    assert resolution.refusal is ErrorCode.COLUMNS_UNKNOWN
    assert "nr, body, note" in resolution.message


def test_text_and_rows_in_one_upload_are_refused() -> None:
    files = [("a.txt", found(b"Once upon", "a.txt")), ("b.jsonl", found(CHAT))]
    assert resolve(files, DataOptions()).refusal is ErrorCode.FILES_MIXED


def test_plain_text_is_refused_as_chat() -> None:
    resolution = resolve([("a.txt", found(b"Once upon", "a.txt"))], DataOptions(task="chat"))
    assert resolution.refusal is ErrorCode.TASK_IMPOSSIBLE


def test_a_template_makes_the_task_instruction() -> None:
    template = {"prompt": "{a}", "completion": "{b}"}
    assert resolve([("a.jsonl", found(CHAT))], DataOptions(template=template)).task is Task.INSTRUCTION
    for_chat = DataOptions(task="chat", template=template)
    assert resolve([("a.jsonl", found(CHAT))], for_chat).refusal is ErrorCode.TASK_IMPOSSIBLE


def test_a_refused_file_refuses_the_upload_and_is_named() -> None:
    resolution = resolve([("good.jsonl", found(CHAT)), ("bad.jsonl", found(b"PK\x03\x04"))], DataOptions())
    assert resolution.refusal is ErrorCode.ARCHIVE
    assert "bad.jsonl" in resolution.message


def test_parquet_is_recognised_by_its_first_bytes(tmp_path: Path) -> None:
    assert found(b"PAR1....", "data.parquet").format is Format.PARQUET


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (any_chat_rows(2), "first 2 rows: all OpenAI chat"),
        ([*any_chat_rows(2), {"text": "Once upon a time"}], "first 3 rows: OpenAI chat (2), text (1)"),
        ([*any_chat_rows(1), {"id": 1}], "first 2 rows: OpenAI chat (1), unknown (1)"),
        ([{"id": 1}], "first row: no known layout (columns id)"),
    ],
)
def test_the_reason_counts_the_layouts_of_the_first_rows(rows: list[Any], reason: str) -> None:
    assert found(as_lines(rows)).why == f"every line is a JSON value; {reason}"


def test_a_column_named_text_is_the_text_of_a_table_with_several_text_columns() -> None:
    resolution = resolved_table("text,summary\nIt was a dark and stormy night,And then came the day after\n" * 2)
    assert (resolution.task, resolution.text_columns, resolution.refusal) == (Task.DOMAIN_ADAPTATION, ("",), None)


def test_a_row_that_the_head_cuts_off_is_not_judged() -> None:
    head = "question,answer\nWho?,Me\nWhy?,Beca"
    assert csv_dialect(head, False, 200).rows == [{"question": "Who?", "answer": "Me"}]
    assert len(csv_dialect(head, True, 200).rows) == 2


def test_a_compressed_table_is_recognised_by_the_suffix_before_gz() -> None:
    detection = found(gzip.compress(b"question,answer\nWho?,Me\n"), "data.csv.gz")
    assert (detection.format, detection.compressed, detection.columns) == (Format.CSV, True, ("question", "answer"))
