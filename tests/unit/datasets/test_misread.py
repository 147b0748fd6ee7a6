"""Small files that were once misread, and what is right for each; a file stands for a kind of fault.

The data is in tests/data/misread; all of its text is invented.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.errors import RunRefused
from finetuning_cli.preflight.data import LocalData, check_data
from tests.builders.datasets import rows_of

MISREAD = Path(__file__).resolve().parents[2] / "data" / "misread"


class Trains(NamedTuple):
    """The data trains. `asked`, `answered`: texts of one row; `said`: what the notes and the two lines must say."""

    train: int
    held_out: int
    asked: str = ""
    answered: str = ""
    said: tuple[str, ...] = ()
    unused: Mapping[str, int] = {}
    test: int = 0


class Refused(NamedTuple):
    """The data is refused. `said`: what the first error, or its fix, must say."""

    code: str
    said: tuple[str, ...] = ()
    errors: int = 1


DOOR, TURN = "How do I open door 1 of the house?", "Turn handle 1 to the left and push gently."
CHAT = Trains(10, 2, DOOR, TURN)
READINGS = ('{"prompt": "Customer question", "completion": "Agent reply"}', '"column 1", "column 2"')

RIGHT: dict[str, Trains | Refused] = {
    "A01-single-row-held-out.jsonl": Trains(1, 0, "Question 1?", "Answer 1.", ("there is only one row",)),
    "A02-flat-messages-array.json": Refused("SHAPE_UNKNOWN", ("Messages of a tree",)),
    "A03-jsonl-named.csv": CHAT,
    "A04-header-with-spaces.csv": Refused("COLUMNS_UNKNOWN", READINGS),
    "A05-complete-dialog-and-other-answer.jsonl": Refused("COLUMNS_CONFLICT", ("another answer",), errors=12),
    "A06-columnar.json": Refused("TABLE_BY_COLUMN", ("instruction, input, output", "orient='records'")),
    "A07-rows-end-in-delimiter.csv": CHAT,
    "A08-answer-is-a-json-array.jsonl": Trains(
        9, 3, "List who lives behind door 0, as JSON.", '[{"name": "Ann", "door": 0}]'
    ),
    "A09-weight-zero.jsonl": Refused("UNTRAINED_ANSWER", ("weight is 0", '"untrained_answers": "drop"'), errors=12),
    "A12-context-list.jsonl": Trains(
        11, 1, "How do I open door 0 of the house?\nThe house is old.\nIts doors are heavy."
    ),
    "A14-headerless-id-and-text.csv": Refused("COLUMNS_UNKNOWN", ("numbers or dates", '{"text": "column 2"}')),
    "A15-oasst-deleted-reply.jsonl": CHAT,
    "A17-download-cut-off.jsonl": Refused("JSON_TRUNCATED", ("in the middle of this row",)),
    "A19-one-column-headerless.tsv": Trains(4, 2, answered="The door 2 is open, and the wind comes in."),
    "B03-output-chosen-rejected.jsonl": Trains(
        9, 3, DOOR, TURN, ("Only the chosen answer of a preference pair",), {"output": 12}
    ),
    "B04-video-title.jsonl": CHAT._replace(unused={"video_title": 12}),
    "B06-empty-columns.csv": CHAT,
    "B07-template-header-with-spaces": Trains(10, 2, DOOR, TURN),
    "B09-sep-line.csv": CHAT,
    "B10-empty-part": CHAT._replace(said=("part-00001.json is left out: it is empty", "_SUCCESS")),
    "B11-metadata-beside": CHAT._replace(said=("dataset_infos.json",)),
    "B14-empty-system-turn.jsonl": CHAT._replace(said=("Empty system turns that were left out: 12",)),
    "B15-space-after-comma.csv": Trains(11, 1, DOOR, f"{TURN}, please"),
    "B16-hidden-file": CHAT,
    "B17-fields-of-shards": CHAT,
    "C01-text-among-chats.jsonl": Refused("SHAPE_OTHER_TASK", ("plain text (text)",)),
    "C02-oasst-flat.jsonl": Refused("SHAPE_UNKNOWN", ("Messages of a tree",), errors=6),
    "C03-verl.jsonl": Refused("SHAPE_UNKNOWN", ("There is a prompt and nothing that answers it",), errors=12),
    "C04-windows-1252.jsonl": Refused("ENCODING", ("looks like Windows-1252",), errors=12),
    "C05-table.xlsx": Refused("ARCHIVE", ("an Excel workbook", "CSV UTF-8")),
    "C07-image-block.jsonl": Refused("MEDIA", ("image_url", "reads only text"), errors=12),
    "C08-ultrachat.jsonl": Refused("SHAPE_UNKNOWN", ("data is a list of texts: turns without roles",), errors=12),
    "C10-object-in-column.csv": Refused("CONTENT_NOT_TEXT", ("the list of turns itself",), errors=12),
    "C13-one-line-array.json": Refused("SHAPE_UNKNOWN", ("Frage, Antwort", "line 1, element 1"), errors=12),
    "C17-pandas-to_json.json": Refused("TABLE_BY_COLUMN", ("DataFrame.to_json(path, orient='records', lines=True)",)),
    "C18-header-of-three.csv": Refused("COLUMNS_UNKNOWN", ("none of its columns is known", *READINGS)),
    "C19-columns-unknown.csv": Refused("COLUMNS_UNKNOWN", ("none of its columns is known: Frage, Antwort",)),
    "C20-no-keys.jsonl": Refused("SHAPE_UNKNOWN", ("The row is an empty object",)),
    "C21-note.rtf": Refused("FORMAT_UNKNOWN", ("rich text (RTF)", "plain text (.txt")),
    "C26-keys-are-questions.json": Refused("SHAPE_UNKNOWN", ("No known layout",)),
    "C27-array-of-html-xls.xls": Refused("WEB_PAGE", ("HTML", "CSV UTF-8")),
    "d01_weight0.jsonl": Refused("UNTRAINED_ANSWER", ("weight is 0",), errors=6),
    "d03c_llama3_text.jsonl": Trains(7, 1, "Name river 0", "River 0"),
    "d03d_special_in_content.jsonl": Trains(7, 1, "Name river 0", "River 0<|eot_id|>", ("special tokens", ": 8.")),
    "d04_pandas_columns.json": Refused("TABLE_BY_COLUMN", ("prompt, completion",)),
    "d06b_split": Trains(30, 10, "Q 0", "Answer 0", ("validation.jsonl → validation", "test.jsonl → test"), test=10),
    "d07_sep.csv": Trains(1, 1, "What is B?", "It is B"),
    "d07b_index.csv": Trains(2, 1, "What is A?", "It is A", unused={"(column 1)": 3}),
    "d07e_cp1252.csv": Refused("ENCODING", ("looks like Windows-1252", "iconv")),
    "d11_schema": Trains(5, 1),
    "d12e_three_columns": Trains(
        26, 4, "Where is order 1?", "Order 1 is in the box we sent you", unused={"Ticket no.": 30}
    ),
    "d13_run_utf16": Refused("", ("run.json is UTF-16",)),
    "d26_binary.parquet": Refused("ENCODING", ("bytes that are not UTF-8", "63 61 66 e9")),
    "d30_skipspace.csv": Trains(2, 1, "What is B?", "It is B, sure"),
}


def checked(name: str, out: Path, **data: Any) -> DatasetReport:
    local = LocalData.read([MISREAD / name])
    assert local.files
    request = local.request()
    if data:
        request = request.model_copy(update={"data": request.data.model_validate(data)})
    return check_data(local, request, lambda count: None, out=out)


def test_every_file_has_its_right_value() -> None:
    assert {path.name for path in MISREAD.iterdir()} == RIGHT.keys()


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if isinstance(right, Trains)])
def test_a_file_is_read_as_its_author_meant_it(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    assert isinstance(right, Trains)
    report = checked(name, tmp_path / "out")
    assert report.refusal is None
    assert (report.rows.train, report.rows.validation, report.rows.test) == (right.train, right.held_out, right.test)
    assert report.rows.errors == 0
    texts = [set(_texts(row)) for row in rows_of(tmp_path, "train")]
    wanted = {text for text in (right.asked, right.answered) if text}
    assert any(wanted <= row for row in texts), texts
    assert report.ignored_columns.items() >= right.unused.items()
    notes = " ".join([*report.understood, *report.notes])
    assert [words for words in right.said if words not in notes] == []


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if isinstance(right, Refused) and right.code])
def test_a_file_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    right = RIGHT[name]
    assert isinstance(right, Refused)
    report = checked(name, tmp_path / "out")
    assert report.refusal is not None
    assert report.error_counts == {right.code: right.errors}
    error = report.errors[0]
    told = f"{error.where} {error.message} {error.fix}"
    assert [words for words in right.said if words not in told] == []
    assert not (tmp_path / "out" / "train").exists()


def _texts(row: Any) -> list[str]:
    return [turn["content"] for turn in row["dialog"]] if "dialog" in row else list(row.values())


def test_a_run_json_in_utf_16_is_one_finding(tmp_path: Path) -> None:
    with pytest.raises(RunRefused) as caught:
        checked("d13_run_utf16", tmp_path)
    assert [(finding.field, finding.message) for finding in caught.value.findings] == [
        ("", "run.json is UTF-16, not UTF-8.")
    ]


def test_a_report_on_many_keys_stays_small(tmp_path: Path) -> None:
    report = checked("C26-keys-are-questions.json", tmp_path)
    assert len(report.model_dump_json()) < 8000


@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        ({"prompt": "Customer question", "completion": "Agent reply"}, DOOR),
        ({"prompt": "column 1", "completion": "column 2"}, "Customer question"),
    ],
)
def test_the_columns_of_run_json_choose_between_two_readings(
    tmp_path: Path, columns: dict[str, str], asked: str
) -> None:
    report = checked("A04-header-with-spaces.csv", tmp_path / "out", columns=columns)
    assert report.ok
    assert asked in {row["dialog"][0]["content"] for row in rows_of(tmp_path)}
    assert f"{columns['prompt']} → prompt, {columns['completion']} → completion" in report.understood[1]


def test_answers_not_to_be_learned_are_dropped_or_trained_on_request(tmp_path: Path) -> None:
    dropped = checked("A09-weight-zero.jsonl", tmp_path, untrained_answers="drop")
    assert (dropped.rows.dropped, dropped.rows.errors, dropped.rows.lines) == (12, 0, 12)
    assert dropped.refusal is not None
    trained = checked("d01_weight0.jsonl", tmp_path / "out", untrained_answers="train")
    assert (trained.ok, trained.rows.kept) == (True, 6)
    assert any("marked not to be learned that are trained on" in note and "6" in note for note in trained.notes)


def test_rows_without_a_mark_train_when_the_others_are_dropped(tmp_path: Path) -> None:
    dialog = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    rows = [{"messages": dialog}, {"messages": [dialog[0], {**dialog[1], "weight": 0}]}]
    (tmp_path / "data.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (tmp_path / "run.json").write_text('{"data": {"untrained_answers": "drop"}}')
    local = LocalData.read([tmp_path])
    report = check_data(local, local.request(), lambda count: None)
    assert (report.ok, report.rows.train, report.rows.dropped) == (True, 1, 1)
