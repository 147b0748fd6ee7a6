"""Every shape with its cases, and the cases that several shapes could claim."""

import json
from itertools import product
from typing import Any

import pytest

from finetuning.datasets.conversion import Converter, turns_of
from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import Dialogs
from finetuning.datasets.shape import Case, Kind, Shape, kind_of
from finetuning.datasets.shapes import SHAPES, shape_of
from finetuning.jumpstart.family import Task
from tests.builders.datasets import any_dialog, any_turn
from tests.shared import SHARED, needs_shared

TASKS = {Kind.DIALOG: Task.CHAT, Kind.COLUMNS: Task.INSTRUCTION, Kind.TEXT: Task.DOMAIN_ADAPTATION}
CASES = [(shape, case) for shape in SHAPES for case in shape.cases]


def converted(row: Any, task: Task = Task.CHAT, **how: Any) -> Any:
    """What a row becomes, or the code of its error."""
    try:
        return Converter(task, convertible=True, **how).convert(row)[0]
    except DataError as error:
        return error.code


@pytest.mark.parametrize(
    ("shape", "case"), CASES, ids=[f"{shape.name}-{number}" for number, (shape, _) in enumerate(CASES)]
)
def test_a_shape_reads_its_cases(shape: Shape, case: Case) -> None:
    row, becomes = case
    if isinstance(becomes, ErrorCode):
        assert converted(row) is becomes
        return
    task = TASKS[kind_of(becomes)]
    keys = tuple(row) if isinstance(row, dict) else ("[]",)
    claimed = shape_of(keys)
    assert claimed is not None
    if task is Task.CHAT:
        assert converted(row) == {"dialog": becomes}
    elif task is Task.DOMAIN_ADAPTATION:
        assert converted(row, task) == {"text": becomes}
    else:
        expected = dict(becomes)  # type: ignore[arg-type]  # columns
        system = expected.pop("system", "")
        expected["instruction"] = f"{system}\n\n{expected['instruction']}" if system else expected["instruction"]
        assert converted(row, task) == expected


PLAIN_VALUES = (
    "Add",
    "",
    " ",
    None,
    0,
    False,
    7,
    [],
    ["a", "b"],
    "[{",
    '[{"role": "user", "content": "Hi"}]',
    {"a": 1},
)


@pytest.mark.parametrize(
    "keys",
    [
        ("prompt", "completion"),
        ("question", "answer", "context"),
        ("instruction", "input", "output"),
        ("instruction", "context", "response"),
        ("input", "target", "id"),
    ],
)
def test_plain_columns_are_read_as_the_shape_reads_them(keys: tuple[str, ...]) -> None:
    shape = shape_of(keys)
    assert shape
    plain = shape.plain_columns(keys)
    assert plain
    read = 0
    for values in product(PLAIN_VALUES, repeat=len(keys)):
        row = dict(zip(keys, values, strict=True))
        if columns := plain.read(row):
            assert columns == shape.read(row, Dialogs())
            read += 1
    contexts = sum(isinstance(value, str | None) and value != " " for value in PLAIN_VALUES)
    assert read == (len(PLAIN_VALUES) if "id" in keys else contexts if len(keys) == 3 else 1)


@pytest.mark.parametrize(
    "keys",
    [
        ("prompt", "completion", "system"),
        ("prompt", "completion", "history"),
        ("prompt", "response", "output"),
        ("instruction", "prompt", "output"),
        ("instruction", "input", "context", "output"),
        ("instruction", "context", "response", "category"),
        ("prompt", "chosen", "rejected"),
        ("text",),
    ],
)
def test_rows_of_more_columns_are_not_plain(keys: tuple[str, ...]) -> None:
    shape = shape_of(keys)
    assert shape
    assert shape.plain_columns(keys) is None


def test_every_shape_has_cases() -> None:
    assert all(shape.cases for shape in SHAPES)


def conversion_cases() -> list[dict[str, Any]]:
    path = SHARED / "data" / "cases" / "conversion.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@needs_shared
@pytest.mark.parametrize("case", conversion_cases(), ids=lambda case: case["id"])
def test_rows_of_public_datasets_are_converted_as_by_their_own_tools(case: dict[str, Any]) -> None:
    found = converted(case["input"])
    if isinstance(case["input"], dict) and case["input"].get("tools"):
        # LLaMA-Factory shows the model the tools, JumpStart does not: "I can only generate QR codes" means little then.
        assert found is ErrorCode.ROLE_TOOL
    elif case["jumpstart_valid"]:
        assert found == {"dialog": case["expected_messages"]}
    elif isinstance(found, dict):
        # Dropped by others for its last user turn: ours drops that turn alone.
        assert case["expect"] == "drop"
        assert found["dialog"][-1]["role"] == "assistant"


SEVEN = [any_turn("user", "Add"), any_turn("assistant", "7")]
TAG = [any_turn("user", "<image> is a tag"), any_turn("assistant", "Yes")]


@pytest.mark.parametrize(
    ("row", "becomes"),
    [
        ({"instruction": "Add", "input": "3 + 4", "output": "7"}, [any_turn("user", "Add\n3 + 4"), SEVEN[1]]),
        ({"instruction": "Add", "output": "7", "system": "Be brief"}, [any_turn("system", "Be brief"), *SEVEN]),
        ({"messages": any_dialog(), "label": True}, any_dialog()),
        ({"messages": any_dialog(), "images": []}, any_dialog()),
        ({"messages": None, "prompt": "Add", "completion": "7"}, SEVEN),
        ({"messages": any_dialog(), "tools": "hammer, saw"}, any_dialog()),
        ({"messages": any_dialog(), "tools": "[{not JSON"}, any_dialog()),
        ({"messages": TAG}, TAG),
    ],
)
def test_rows_that_are_kept_as_chat(row: Any, becomes: Any) -> None:
    assert converted(row) == {"dialog": becomes}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"messages": any_dialog(), "label": False}, ErrorCode.REJECTED_ANSWER),
        ({"messages": any_dialog(), "label": "0"}, ErrorCode.REJECTED_ANSWER),
        ({"messages": any_dialog(), "images": ["a.png"]}, ErrorCode.MEDIA),
        ({"messages": any_dialog(), "conversations": any_dialog("coffee")}, ErrorCode.COLUMNS_CONFLICT),
        ({"messages": [any_turn("system"), any_turn("system"), *any_dialog()]}, ErrorCode.ROLE_ORDER),
        ({"messages": [any_turn("user"), any_turn("user"), any_turn("assistant")]}, ErrorCode.ROLE_ORDER),
        ({"messages": [any_turn("narrator"), any_turn("assistant")]}, ErrorCode.ROLE_UNKNOWN),
        ({"messages": [any_turn("user"), any_turn("assistant", " \n")]}, ErrorCode.CONTENT_EMPTY),
        ({"messages": [any_turn("user"), {"role": "assistant", "content": 3}]}, ErrorCode.CONTENT_NOT_TEXT),
        ({"messages": [any_turn("user"), {"role": "assistant"}]}, ErrorCode.CONTENT_NOT_TEXT),
        ({"messages": "no list"}, ErrorCode.JSON_INVALID),
        ({"messages": {"role": "user"}}, ErrorCode.CONTENT_NOT_TEXT),
        ({"messages": []}, ErrorCode.CONTENT_EMPTY),
        ({"messages": [1, 2]}, ErrorCode.SHAPE_UNKNOWN),
        ({"text": "just words"}, ErrorCode.SHAPE_OTHER_TASK),
        ({"columns": "nobody knows"}, ErrorCode.SHAPE_UNKNOWN),
        ({"instances": [{"messages": any_dialog()}]}, ErrorCode.SHAPE_UNKNOWN),
        ({}, ErrorCode.SHAPE_UNKNOWN),
        (7, ErrorCode.SHAPE_UNKNOWN),
        ([["user", "Hello"]], ErrorCode.SHAPE_UNKNOWN),
    ],
)  # fmt: skip
def test_rows_that_are_refused(row: Any, code: ErrorCode) -> None:
    assert converted(row) is code


def test_an_error_names_the_path_in_the_row() -> None:
    with pytest.raises(DataError) as caught:
        Converter(Task.CHAT).convert({"messages": [any_turn("user"), any_turn("assistant", "")]})
    assert caught.value.path == "messages[1].content"


def test_a_last_user_turn_is_dropped_and_counted_unless_repair_is_off() -> None:
    row = {"messages": [*any_dialog(), any_turn("user", "And then?")]}
    converter = Converter(Task.CHAT)
    assert converter.convert(row)[0] == {"dialog": any_dialog()}
    assert converter.dialogs.repaired == 1
    assert converted(row, repair=False) is ErrorCode.TRAILING_USER


def test_an_instruction_row_is_an_error_in_a_detected_chat() -> None:
    with pytest.raises(DataError) as caught:
        Converter(Task.CHAT).convert({"instruction": "Add", "output": "7"})
    assert caught.value.code is ErrorCode.SHAPE_OTHER_TASK


def test_a_question_with_its_answer_is_a_conversation_even_if_nobody_set_the_task() -> None:
    assert Converter(Task.CHAT).convert({"question": "Add", "answer": "7"}) == ({"dialog": SEVEN}, 4)


def test_a_conversation_of_one_question_becomes_an_instruction_if_the_task_is_set() -> None:
    assert converted({"messages": any_dialog()}, Task.INSTRUCTION) == {
        "instruction": any_dialog()[0]["content"],
        "context": "",
        "response": any_dialog()[1]["content"],
    }
    assert converted({"messages": any_dialog() * 2}, Task.INSTRUCTION) is ErrorCode.MANY_TURNS


def test_with_a_template_only_its_columns_are_read() -> None:
    template = {"prompt": "Is {drink} nice?", "completion": "{answer}"}
    how = {"template": template}
    row = {"drink": "tea", "answer": 3, "more": None}
    assert converted(row, Task.INSTRUCTION, **how) == {"drink": "tea", "answer": "3"}
    assert converted({"drink": "tea"}, Task.INSTRUCTION, **how) is ErrorCode.COLUMN_MISSING
    assert converted({"drink": "tea", "answer": ""}, Task.INSTRUCTION, **how) is ErrorCode.CONTENT_EMPTY
    assert converted({"drink": ["tea"], "answer": "3"}, Task.INSTRUCTION, **how) is ErrorCode.CONTENT_NOT_TEXT


def test_ignored_columns_are_counted() -> None:
    converter = Converter(Task.CHAT)
    for _ in range(3):
        converter.convert({"messages": any_dialog(), "id": 1, "source": "web"})
    assert converter.ignored() == {"id": 3, "source": 3}


def test_rows_with_ever_new_keys_do_not_fill_the_memory() -> None:
    converter = Converter(Task.CHAT)
    for number in range(10_000):
        converter.convert({"messages": any_dialog(), f"key{number}": 1})
    assert converter.shapes() == {"OpenAI chat": 10_000}
    assert len(converter._routes) <= 4096


def test_a_template_may_have_a_column_named_dialog() -> None:
    template = {"prompt": "{dialog}", "completion": "{answer}"}
    row = {"dialog": "Hello", "answer": "Good day"}
    assert Converter(Task.INSTRUCTION, template=template).convert(row) == (row, 13)
    assert turns_of(row) == []
