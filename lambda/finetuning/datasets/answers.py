"""The layouts with a question and an answer in columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import ASSISTANT, SYSTEM, USER, Dialogs, kind, names, text_of
from finetuning.datasets.shape import (
    COLUMNS,
    COMPLETION,
    CONTEXT,
    HELLO,
    HISTORY,
    INPUT,
    INSTRUCTION,
    POLITE,
    PROMPT,
    SYSTEM_KEYS,
    Case,
    Keys,
    Kind,
    PlainColumns,
    Reading,
    Shape,
    answer_key,
    answer_turn,
    decoded,
    is_texts,
    only,
    system_text,
    turn_of,
    unwrapped,
)
from finetuning.jumpstart.family import Message


class QuestionAndAnswer(Shape):
    """A question and an answer under any of their names, with a context, a system text and earlier turns.

    Texts become instruction columns, which can also be a dialog of one question. Earlier turns (`history`), lists of
    turns and parallel lists can only be a dialog.
    """

    name = "prompt and completion"
    kind = Kind.COLUMNS
    cases: ClassVar[Sequence[Case]] = (
        Case({"prompt": "Add", "completion": "7"}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"question": "Add", "answer": "7", "id": 3}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"input": "Add", "target": "7"}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"prompt": "Add", "response": "7", "output": "7"}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"prompt": "Add", "response": "7", "output": "8"}, ErrorCode.COLUMNS_CONFLICT),
        Case({"prompt": "Add", "completion": ""}, ErrorCode.CONTENT_EMPTY),
        Case({"prompt": "Add", "completion": 7}, ErrorCode.CONTENT_NOT_TEXT),
        Case({"prompt": [turn_of(USER, "Hello")], "completion": [turn_of(ASSISTANT, "Good day")]}, HELLO),
        Case({"query": "Bye", "response": "So long", "history": [["Hello", "Good day"]], "system": "Be polite"},
             [*POLITE, turn_of(USER, "Bye"), turn_of(ASSISTANT, "So long")]),
        Case({"input": ["Hello", "Bye"], "output": ["Good day", "So long"]},
             [*HELLO, turn_of(USER, "Bye"), turn_of(ASSISTANT, "So long")]),
        Case({"prompt": "Add", "completion": "8", "label": False}, ErrorCode.REJECTED_ANSWER),
        Case({"prompt": "What is it?", "completion": "A cat", "images": ["cat.png"]}, ErrorCode.MEDIA),
    )  # fmt: skip

    def claims(self, keys: Keys) -> bool:
        return bool(_asked(keys)) and any(key in keys for key in COMPLETION)

    def columns(self, keys: Keys) -> set[str]:
        return {*_asked(keys), *_given(keys), HISTORY, *SYSTEM_KEYS, *COMPLETION} & set(keys)

    def plain_columns(self, keys: Keys) -> PlainColumns | None:
        asked, given, answered = _asked(keys), _given(keys), [key for key in COMPLETION if key in keys]
        if len(asked) != 1 or len(given) > 1 or len(answered) != 1 or self.columns(keys) & {HISTORY, *SYSTEM_KEYS}:
            return None
        return PlainColumns(asked[0], given[0] if given else "", answered[0])

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        asked, answered = only(row, _asked(row), needed=False), answer_key(row)
        given = only(row, _given(row), needed=False)
        if not asked and given:
            asked, given = given, ""
        if not asked or not answered:
            side = "answer" if asked else "question"
            keys = COMPLETION if asked else (INSTRUCTION, *PROMPT, INPUT)
            raise DataError(ErrorCode.CONTENT_EMPTY, f"The {side} is empty.", next(key for key in keys if key in row))
        question, answer = unwrapped(row[asked]), unwrapped(row[answered])
        if isinstance(question, list) or isinstance(answer, list | dict):
            return self._dialog(row, asked, answered, dialogs)
        columns = {
            "instruction": text_of(question, asked),
            "context": text_of(row[given], given, between="\n") if given else "",
            "response": text_of(answer, answered),
        }
        system, history = system_text(row), row.get(HISTORY)
        if history:
            return self._with_history(columns, decoded(history, HISTORY), system, dialogs)
        return {**columns, "system": system} if system else columns

    def _with_history(self, columns: dict[str, str], history: Any, system: str, dialogs: Dialogs) -> Reading:
        turns = dialogs.messages(_turns_of_history(history), HISTORY)
        return dialogs.dialog([*turns, *as_dialog(columns)], HISTORY, system)

    def _dialog(self, row: Mapping[str, Any], asked: str, answered: str, dialogs: Dialogs) -> Reading:
        question, answer = unwrapped(row[asked]), unwrapped(row[answered])
        if is_texts(question) and is_texts(answer):
            if len(question) != len(answer):
                raise DataError(
                    ErrorCode.ROLE_ORDER,
                    f"{asked} has {len(question)} texts, but {answered} has {len(answer)}.",
                    answered,
                )
            pairs = [{"user": user, "assistant": assistant} for user, assistant in zip(question, answer, strict=True)]
            return dialogs.dialog(pairs, asked, system_text(row))
        before = question if isinstance(question, list) else [{"role": USER, "content": question}]
        turns = dialogs.messages(before, asked)
        if isinstance(answer, list):
            after = dialogs.messages(answer, answered)
            if any(message["role"] == USER for message in after):
                return self._whole(turns, after, row, answered, dialogs)
            return dialogs.dialog([*turns, *after], answered, system_text(row))
        return dialogs.dialog([*turns, answer_turn(row, answered, dialogs)], answered, system_text(row))

    def _whole(
        self, asked: list[Message], dialog: list[Message], row: Mapping[str, Any], path: str, dialogs: Dialogs
    ) -> Reading:
        """The dialog of an answer that is the whole conversation: it must contain what was asked."""
        missing = [message for message in asked if message["role"] == USER and message not in dialog]
        if missing:
            raise DataError(
                ErrorCode.COLUMNS_CONFLICT, f"{path} is a conversation that does not contain the prompt.", path
            )
        return dialogs.dialog(dialog, path, system_text(row))


class Preference(QuestionAndAnswer):
    """Pairs of a chosen and a rejected answer: only the chosen one is trained on."""

    name = "preference pair"
    cases = (
        Case({"prompt": "Add", "chosen": "7", "rejected": "8"}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"chosen": HELLO, "rejected": [HELLO[0], turn_of(ASSISTANT, "What?")]}, HELLO),
        Case({"prompt": "Hello", "chosen": HELLO, "rejected": HELLO}, HELLO),
        Case({"prompt": [turn_of(USER, "Hello")], "chosen": turn_of(ASSISTANT, "Good day"), "rejected": {}}, HELLO),
        Case({"prompt": "Bye", "chosen": HELLO, "rejected": HELLO}, ErrorCode.COLUMNS_CONFLICT),
        Case({"instruction": "Add", "input": "3 + 4", "output": "8", "chosen": "7", "rejected": "8"}, COLUMNS),
    )

    def claims(self, keys: Keys) -> bool:
        alone = not any(key in keys for key in COMPLETION if key != "chosen")
        return "chosen" in keys and ("rejected" in keys or alone)

    def columns(self, keys: Keys) -> set[str]:
        """Of the answers only `chosen`, unless there is no pair."""
        others = {key for key in COMPLETION if key != "chosen"} if "rejected" in keys else set()
        return (super().columns(keys) | ({"rejected"} & set(keys))) - others

    def plain_columns(self, keys: Keys) -> None:
        return None

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        if only(row, _asked(row), needed=False):
            return super().read(row, dialogs)
        chosen = unwrapped(row["chosen"])
        if isinstance(chosen, list):
            return dialogs.dialog(chosen, "chosen", system_text(row))
        raise DataError(
            ErrorCode.SHAPE_UNKNOWN,
            f"The row has a chosen answer but no question. Its columns: {names(row)}.",
            "chosen",
        )


class Alpaca(QuestionAndAnswer):
    name = "Alpaca"
    cases = (
        Case({"instruction": "Add", "input": "3 + 4", "output": "7"}, COLUMNS),
        Case({"instruction": "Add", "input": None, "output": "7", "text": "…"}, {**COLUMNS, "context": ""}),
        Case(
            {"instruction": "Add", "input": "3 + 4", "output": "7", "system": "Be brief"},
            {**COLUMNS, "system": "Be brief"},
        ),
        Case(
            {"instruction": "Add", "input": "3 + 4", "output": "7", "history": [["Hello", "Good day"]]},
            [*HELLO, turn_of(USER, "Add\n3 + 4"), turn_of(ASSISTANT, "7")],
        ),
        Case({"instruction": "Add", "input": "", "output": ""}, ErrorCode.CONTENT_EMPTY),
    )

    def claims(self, keys: Keys) -> bool:
        return INSTRUCTION in keys and "output" in keys


class Dolly(QuestionAndAnswer):
    name = "Dolly"
    cases = (
        Case({**COLUMNS, "category": "maths"}, {**COLUMNS, "category": "maths"}),
        Case({**COLUMNS, "context": ""}, {**COLUMNS, "context": ""}),
    )

    def claims(self, keys: Keys) -> bool:
        return INSTRUCTION in keys and CONTEXT in keys and "response" in keys

    def columns(self, keys: Keys) -> set[str]:
        return super().columns(keys) | ({"category"} & set(keys))

    def plain_columns(self, keys: Keys) -> PlainColumns | None:
        return None if "category" in keys else super().plain_columns(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        reading = super().read(row, dialogs)
        if isinstance(reading, dict) and isinstance(row.get("category"), str):
            reading["category"] = row["category"]
        return reading


def as_dialog(columns: Mapping[str, str]) -> list[Message]:
    """Instruction columns as one question and its answer. A context follows the instruction on a new line."""
    question = columns["instruction"]
    if columns["context"]:
        question += "\n" + columns["context"]
    turns = [turn_of(USER, question), turn_of(ASSISTANT, columns["response"])]
    return [turn_of(SYSTEM, columns["system"]), *turns] if columns.get("system") else turns


def as_columns(dialog: Sequence[Message]) -> dict[str, str]:
    """A dialog of one question and one answer as instruction columns. Raises `DataError` for a longer one."""
    system = dialog[0]["content"] if dialog[0]["role"] == SYSTEM else ""
    turns = dialog[1:] if system else dialog
    if len(turns) != 2:
        raise DataError(
            ErrorCode.MANY_TURNS, f"The conversation has {len(turns) // 2} answers; an instruction row has one."
        )
    return {"instruction": turns[0]["content"], "context": "", "response": turns[1]["content"], "system": system}


def _asked(keys: Iterable[str]) -> tuple[str, ...]:
    """The columns of the question. `input` is one of them, unless there is an instruction: then it is the context."""
    if INSTRUCTION in keys:
        return tuple(key for key in (INSTRUCTION, *PROMPT) if key in keys)
    return tuple(key for key in (*PROMPT, INPUT) if key in keys)


def _given(keys: Iterable[str]) -> tuple[str, ...]:
    """The columns of the question's context."""
    return tuple(key for key in ((INPUT, CONTEXT) if INSTRUCTION in keys else (CONTEXT,)) if key in keys)


def _turns_of_history(history: Any) -> list[Any]:
    """Earlier turns: pairs `[question, answer]`, or turns in any form that `Dialogs.messages` reads."""
    if not isinstance(history, list):
        raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The history is {kind(history)}, not a list.", HISTORY)
    turns: list[Any] = []
    for number, pair in enumerate(history):
        if isinstance(pair, list):
            if len(pair) != 2:
                raise DataError(
                    ErrorCode.ROLE_ORDER,
                    f"An earlier turn has {len(pair)} texts; it must have two.",
                    f"{HISTORY}[{number}]",
                )
            turns.append({"user": pair[0], "assistant": pair[1]})
        else:
            turns.append(pair)
    return turns
