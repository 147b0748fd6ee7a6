"""What the report says beside the counts: refusals and notes."""

from pathlib import Path
from typing import Any

import pytest

from finetuning.jumpstart.family import Task
from tests.builders.datasets import any_chat_rows, any_dialog, any_turn, report_of, rows_of

BAD = b'{"messages": ['


def test_blank_lines_do_not_count_for_the_share_of_errors(tmp_path: Path) -> None:
    rows = [*any_chat_rows(49), BAD, *[b""] * 50]
    report = report_of(tmp_path, rows, max_error_fraction=0.015)
    assert report.rows.blank == 50
    assert report.refusal
    assert report.refusal.message.startswith("1 of 100 lines cannot be used (2.0 %; 1.5 % are allowed): ")


def test_a_refusal_counts_its_errors_by_code_and_says_where_each_is_first(tmp_path: Path) -> None:
    report = report_of(tmp_path, [*any_chat_rows(3), *[BAD] * 5, {"messages": []}])
    assert report.refusal
    where = tmp_path / "data.jsonl"
    assert report.refusal.message == (
        "6 of 9 lines cannot be used (66.7 %; 1 % are allowed): "
        f"JSON_INVALID 5 (first: {where} line 4), CONTENT_EMPTY 1 (first: {where} line 9)."
    )


OPEN_END = {"messages": [*any_dialog(), any_turn("user", "And then?")]}
PREFERENCE = {"prompt": "Add", "chosen": "7", "rejected": "8"}
TABLE = "nr,body\n1,It was a dark and stormy night at sea\n2,And then came the day after it all\n"
TEMPLATE = {"prompt": "{question}", "completion": "{answer}"}


@pytest.mark.parametrize(
    ("content", "name", "options", "note"),
    [
        ([*any_chat_rows(3), OPEN_END], "data.jsonl", {}, "whose last user turn had no answer and was dropped: 1."),
        ([PREFERENCE, *any_chat_rows(3)], "data.jsonl", {}, "Only the chosen answer of a preference pair"),
        (TABLE.encode(), "data.csv", {}, "the text is in the column body."),
        ([{"question": 7, "answer": "Yes"}], "data.jsonl", {"template": TEMPLATE}, "converted to text: 1."),
        (any_chat_rows(1), "data.jsonl", {}, "there is only one row."),
        (any_chat_rows(9), "data.jsonl", {"validation_fraction": 0}, "validation_fraction is 0."),
        (b"One.\nTwo.\nThree.\n", "data.txt", {}, "Its end is held out"),
    ],
)
def test_the_notes_say_what_a_user_should_know(
    tmp_path: Path, content: Any, name: str, options: dict[str, Any], note: str
) -> None:
    assert [each for each in report_of(tmp_path, content, name, **options).notes if note in each]
    assert not [each for each in report_of(tmp_path, any_chat_rows(9)).notes if note in each]


def test_a_text_is_not_truncated(tmp_path: Path) -> None:
    report = report_of(tmp_path, b"A long line of a book.\n" * 9, "data.txt", max_input_length=1)
    assert (report.task, report.statistics.truncated) == (Task.DOMAIN_ADAPTATION, 0)
    rows = [{"text": f"A long line of book {number}."} for number in range(9)]
    report = report_of(tmp_path, rows, max_input_length=1)
    assert (report.task, report.statistics.truncated) == (Task.DOMAIN_ADAPTATION, 0)


def test_a_boolean_in_a_column_of_the_template_is_an_error(tmp_path: Path) -> None:
    rows = [{"question": True, "answer": "Yes"}, {"question": "Why?", "answer": "So"}]
    report = report_of(tmp_path, rows, template=TEMPLATE, max_error_fraction=1)
    assert report.error_counts == {"CONTENT_NOT_TEXT": 1}


def test_a_label_beside_a_text_is_only_another_column(tmp_path: Path) -> None:
    report = report_of(tmp_path, [{"text": "It was a dark night.", "label": False}, {"text": "It was day."}])
    assert (report.rows.kept, report.ignored_columns) == (2, {"label": 1})
    assert {"text": "It was a dark night."} in rows_of(tmp_path)
