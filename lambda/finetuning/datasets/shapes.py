"""The layouts of rows that are understood: one class each, with the rows that test it.

A shape decides by a row's keys whether it claims the row, and reads it as a dialog, instruction columns, or a text. To
add one, write its class with `cases` and add it to `SHAPES`: the first shape there that claims a row reads it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import orjson

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import (
    ASSISTANT,
    ROLE_KEYS,
    SYSTEM,
    USER,
    Dialogs,
    kind,
    names,
    plain_characters,
    renamed_dialog,
    text_of,
)
from finetuning.jumpstart.family import Message

Reading = list[Message] | dict[str, str] | str
"""A row read: a dialog; columns `instruction`, `context`, `response` (and `system`, `category` where given); a text."""


class Kind(StrEnum):
    """What a row is."""

    DIALOG = "dialog"
    COLUMNS = "columns"
    TEXT = "text"


def kind_of(reading: Reading) -> Kind:
    if isinstance(reading, list):
        return Kind.DIALOG
    return Kind.COLUMNS if isinstance(reading, dict) else Kind.TEXT


Keys = tuple[str, ...]

CONVERSATION = ("messages", "dialog", "conversations", "conversation")
INSTRUCTION, CONTEXT, INPUT = "instruction", "context", "input"
PROMPT = ("prompt", "query", "question")
COMPLETION = ("completion", "response", "answer", "output", "target", "chosen")
SYSTEM_KEYS = ("system", "system_prompt")
HISTORY = "history"


class Case(NamedTuple):
    """A row and what it becomes: a reading, or the error that it is refused with."""

    row: Any
    becomes: Reading | ErrorCode


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


_HELLO = [_turn(USER, "Hello"), _turn(ASSISTANT, "Good day")]
_POLITE = [_turn(SYSTEM, "Be polite"), *_HELLO]
_COLUMNS = {"instruction": "Add", "context": "3 + 4", "response": "7"}


class Shape:
    """A layout of rows. Columns that it does not read are ignored, and counted."""

    name: ClassVar[str]
    kind: ClassVar[Kind] = Kind.DIALOG
    """What most of its rows are; a row with an error counts as this."""
    cases: ClassVar[Sequence[Case]] = ()

    def claims(self, keys: Keys) -> bool:
        """True if a row with these keys has this shape."""
        raise NotImplementedError

    def label(self, keys: Keys, kind: Kind) -> str:
        """The name that users know."""
        return self.name

    def columns(self, keys: Keys) -> set[str]:
        """Those of the keys that `read` uses."""
        raise NotImplementedError

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        """The row's content. Raises `DataError`."""
        raise NotImplementedError

    def turns_key(self, keys: Keys) -> str:
        """The column that is the whole row if it is a list of turns; "" if `read` needs more than that column."""
        return ""


class BareArray(Shape):
    name = "bare array of messages"
    cases = (
        Case([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}], _HELLO),
        Case([["Hello", "Good day"]], ErrorCode.SHAPE_UNKNOWN),
        Case("Hello", ErrorCode.SHAPE_UNKNOWN),
    )

    def claims(self, keys: Keys) -> bool:
        return keys == BARE

    def columns(self, keys: Keys) -> set[str]:
        return set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        if not isinstance(row, list):
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"The row is {kind(row)}; it must be an object or a list of turns."
            )
        return _simple(row) or dialogs.dialog(row, "")


BARE: Keys = ("[]",)
"""The keys of a row that is not an object."""


class Conversation(Shape):
    """A list of turns under one of the names in use: JumpStart's, OpenAI's, ShareGPT's, and lists of pairs.

    The list may be a JSON text, as in CSV and Parquet columns. A `system` column is put before the turns. An answer in
    a column of its own (`chosen`, `completion` …) is put after them if they end with the user's.
    """

    name = "conversation"
    cases = (
        Case({"dialog": _HELLO}, _HELLO),
        Case(
            {
                "messages": [
                    {"content": "Hello", "role": "user"},
                    {"content": "Good day", "role": "assistant", "weight": 1},
                ]
            },
            _HELLO,
        ),
        Case({"messages": '[{"role":"user","content":"Hello"},{"role":"assistant","content":"Good day"}]'}, _HELLO),
        Case({"messages": "[{'role': 'user', 'content': 'Hello'}]"}, ErrorCode.PYTHON_LITERAL),
        Case({"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day"}]}, _HELLO),
        Case({"conversation": [{"human": "Hello", "assistant": "Good day"}]}, _HELLO),
        Case({"conversation": [{"system": "Be polite", "input": "Hello", "output": "Good day"}]}, _POLITE),
        Case(
            {
                "system": [{"text": "Be polite"}],
                "messages": [
                    {"role": "user", "content": [{"text": "Hello"}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "Good day"}]},
                ],
            },
            _POLITE,
        ),
        Case(
            {
                "conversations": [{"from": "human", "value": "Hello"}],
                "chosen": {"from": "gpt", "value": "Good day"},
                "rejected": {"from": "gpt", "value": "What?"},
            },
            _HELLO,
        ),
        Case({"messages": [*_HELLO, _turn(USER, "Anyone?")]}, _HELLO),
        Case({"messages": [_turn(USER, "Hello")]}, ErrorCode.NO_ASSISTANT),
        Case({"messages": [_turn(ASSISTANT, "Hello"), _turn(USER, "Hello")]}, ErrorCode.ROLE_ORDER),
        Case({"messages": [_turn(USER, "Hello"), {"role": "assistant", "content": ""}]}, ErrorCode.CONTENT_EMPTY),
        Case(
            {"messages": [_turn(USER, "Hello"), {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            ErrorCode.ROLE_TOOL,
        ),
        Case({"messages": [_turn(USER, "Hello"), {"role": "tool", "content": "42"}, *_HELLO[1:]]}, ErrorCode.ROLE_TOOL),
        Case(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *_HELLO[1:]]},
            ErrorCode.CONTENT_NOT_TEXT,
        ),
    )

    def claims(self, keys: Keys) -> bool:
        return any(key in keys for key in CONVERSATION)

    def label(self, keys: Keys, kind: Kind) -> str:
        known_as = {"messages": "OpenAI chat", "dialog": "JumpStart chat", "conversations": "ShareGPT"}
        return next((known_as[key] for key in known_as if key in keys), "ShareGPT")

    def columns(self, keys: Keys) -> set[str]:
        return set(CONVERSATION + SYSTEM_KEYS + COMPLETION) & set(keys)

    def turns_key(self, keys: Keys) -> str:
        return keys[0] if len(keys) == 1 else ""

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        path = _only(row, CONVERSATION)
        turns = row[path]
        simple = _simple(turns)
        if simple and not any(row.get(key) for key in SYSTEM_KEYS):
            return simple
        turns = decoded(turns, path)
        answer = _only(row, COMPLETION, needed=False)
        return dialogs.dialog(turns, path, _system(row), _answer(row, answer, dialogs) if answer else None)


def _simple(turns: Any) -> list[Message] | None:
    """The dialog of turns in one of the two common forms; None for others."""
    return turns if plain_characters(turns) else renamed_dialog(turns)


class Tree(Shape):
    """A tree of OASST: the path from the prompt down, at every branch the reply with the best rank (0 is best)."""

    name = "OASST tree"
    cases = (
        Case(
            {
                "prompt": {
                    "role": "prompter",
                    "text": "Hello",
                    "replies": [
                        {"role": "assistant", "text": "What?", "rank": 1, "replies": []},
                        {"role": "assistant", "text": "Good day", "rank": 0, "replies": []},
                    ],
                }
            },
            _HELLO,
        ),
        Case({"role": "prompter", "text": "Hello", "replies": [{"role": "assistant", "text": "Good day"}]}, _HELLO),
        Case({"message_id": "b", "parent_id": "a", "role": "assistant", "text": "Good day"}, ErrorCode.SHAPE_UNKNOWN),
    )

    def claims(self, keys: Keys) -> bool:
        marked = any(key in keys for key in ("replies", "parent_id", "message_tree_id"))
        return marked or ("prompt" in keys and "text" not in keys)

    def columns(self, keys: Keys) -> set[str]:
        return {"prompt", "role", "text", "replies"} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        root = row.get("prompt", row)
        if isinstance(root, str):
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"The row has a prompt but no answer. Its columns: {names(row)}.", "prompt"
            )
        if not isinstance(root, dict) or "replies" not in root:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN,
                "The row is a single message of a tree. Use the export with whole trees, which have `replies`.",
            )
        return dialogs.dialog(list(_best_path(root)), "prompt" if "prompt" in row else "")


def _best_path(node: Any) -> Iterable[dict[str, Any]]:
    """The turns from a message down: of the replies the one with the lowest rank; replies without a rank come last."""
    while node is not None:
        if not isinstance(node, dict):
            raise DataError(ErrorCode.SHAPE_UNKNOWN, f"A reply is {kind(node)}, not an object.", "replies")
        yield {key: node[key] for key in ("role", "text") if key in node}
        replies = node.get("replies") or []
        if not isinstance(replies, list):
            raise DataError(ErrorCode.SHAPE_UNKNOWN, f"The replies are {kind(replies)}, not a list.", "replies")
        node = min(replies, key=_rank) if replies else None


def _rank(reply: Any) -> float:
    rank = reply.get("rank") if isinstance(reply, dict) else None
    return rank if isinstance(rank, int | float) else float("inf")


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
        Case({"prompt": [_turn(USER, "Hello")], "completion": [_turn(ASSISTANT, "Good day")]}, _HELLO),
        Case({"query": "Bye", "response": "So long", "history": [["Hello", "Good day"]], "system": "Be polite"},
             [*_POLITE, _turn(USER, "Bye"), _turn(ASSISTANT, "So long")]),
        Case({"input": ["Hello", "Bye"], "output": ["Good day", "So long"]},
             [*_HELLO, _turn(USER, "Bye"), _turn(ASSISTANT, "So long")]),
        Case({"prompt": "Add", "completion": "8", "label": False}, ErrorCode.REJECTED_ANSWER),
        Case({"prompt": "What is it?", "completion": "A cat", "images": ["cat.png"]}, ErrorCode.MEDIA),
    )  # fmt: skip

    def claims(self, keys: Keys) -> bool:
        return bool(_asked(keys)) and any(key in keys for key in COMPLETION)

    def columns(self, keys: Keys) -> set[str]:
        return {*_asked(keys), *_given(keys), HISTORY, *SYSTEM_KEYS, *COMPLETION} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        asked, answered = _only(row, _asked(row), needed=False), _only(row, COMPLETION, needed=False)
        given = _only(row, _given(row), needed=False)
        if not asked and given:
            asked, given = given, ""
        if not asked or not answered:
            side = "answer" if asked else "question"
            keys = COMPLETION if asked else (INSTRUCTION, *PROMPT, INPUT)
            raise DataError(ErrorCode.CONTENT_EMPTY, f"The {side} is empty.", next(key for key in keys if key in row))
        question, answer = _unwrapped(row[asked]), _unwrapped(row[answered])
        if isinstance(question, list) or isinstance(answer, list | dict):
            return self._dialog(row, asked, answered, dialogs)
        columns = {
            "instruction": text_of(question, asked),
            "context": text_of(row[given], given) if given else "",
            "response": text_of(answer, answered),
        }
        system, history = _system(row), row.get(HISTORY)
        if history:
            return self._with_history(columns, decoded(history, HISTORY), system, dialogs)
        return {**columns, "system": system} if system else columns

    def _with_history(self, columns: dict[str, str], history: Any, system: str, dialogs: Dialogs) -> Reading:
        turns = dialogs.messages(_turns_of_history(history), HISTORY)
        return dialogs.dialog([*turns, *as_dialog(columns)], HISTORY, system)

    def _dialog(self, row: Mapping[str, Any], asked: str, answered: str, dialogs: Dialogs) -> Reading:
        question, answer = _unwrapped(row[asked]), _unwrapped(row[answered])
        if _texts(question) and _texts(answer):
            if len(question) != len(answer):
                raise DataError(
                    ErrorCode.ROLE_ORDER,
                    f"{asked} has {len(question)} texts, but {answered} has {len(answer)}.",
                    answered,
                )
            pairs = [{"user": user, "assistant": assistant} for user, assistant in zip(question, answer, strict=True)]
            return dialogs.dialog(pairs, asked, _system(row))
        before = question if isinstance(question, list) else [{"role": USER, "content": question}]
        turns = dialogs.messages(before, asked)
        if isinstance(answer, list):
            after = dialogs.messages(answer, answered)
            if any(message["role"] == USER for message in after):
                return self._whole(turns, after, row, answered, dialogs)
            return dialogs.dialog([*turns, *after], answered, _system(row))
        return dialogs.dialog([*turns, _answer(row, answered, dialogs)], answered, _system(row))

    def _whole(
        self, asked: list[Message], dialog: list[Message], row: Mapping[str, Any], path: str, dialogs: Dialogs
    ) -> Reading:
        """The dialog of an answer that is the whole conversation: it must contain what was asked."""
        missing = [message for message in asked if message["role"] == USER and message not in dialog]
        if missing:
            raise DataError(
                ErrorCode.COLUMNS_CONFLICT, f"{path} is a conversation that does not contain the prompt.", path
            )
        return dialogs.dialog(dialog, path, _system(row))


class Preference(QuestionAndAnswer):
    """Pairs of a chosen and a rejected answer: only the chosen one is trained on."""

    name = "preference pair"
    cases = (
        Case({"prompt": "Add", "chosen": "7", "rejected": "8"}, {"instruction": "Add", "context": "", "response": "7"}),
        Case({"chosen": _HELLO, "rejected": [_HELLO[0], _turn(ASSISTANT, "What?")]}, _HELLO),
        Case({"prompt": "Hello", "chosen": _HELLO, "rejected": _HELLO}, _HELLO),
        Case({"prompt": [_turn(USER, "Hello")], "chosen": _turn(ASSISTANT, "Good day"), "rejected": {}}, _HELLO),
        Case({"prompt": "Bye", "chosen": _HELLO, "rejected": _HELLO}, ErrorCode.COLUMNS_CONFLICT),
    )

    def claims(self, keys: Keys) -> bool:
        return "chosen" in keys

    def columns(self, keys: Keys) -> set[str]:
        return super().columns(keys) | ({"rejected"} & set(keys))

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        if _only(row, _asked(row), needed=False):
            return super().read(row, dialogs)
        chosen = _unwrapped(row["chosen"])
        if isinstance(chosen, list):
            return dialogs.dialog(chosen, "chosen", _system(row))
        raise DataError(
            ErrorCode.SHAPE_UNKNOWN,
            f"The row has a chosen answer but no question. Its columns: {names(row)}.",
            "chosen",
        )


class Alpaca(QuestionAndAnswer):
    name = "Alpaca"
    cases = (
        Case({"instruction": "Add", "input": "3 + 4", "output": "7"}, _COLUMNS),
        Case({"instruction": "Add", "input": None, "output": "7", "text": "…"}, {**_COLUMNS, "context": ""}),
        Case(
            {"instruction": "Add", "input": "3 + 4", "output": "7", "system": "Be brief"},
            {**_COLUMNS, "system": "Be brief"},
        ),
        Case(
            {"instruction": "Add", "input": "3 + 4", "output": "7", "history": [["Hello", "Good day"]]},
            [*_HELLO, _turn(USER, "Add\n3 + 4"), _turn(ASSISTANT, "7")],
        ),
        Case({"instruction": "Add", "input": "", "output": ""}, ErrorCode.CONTENT_EMPTY),
    )

    def claims(self, keys: Keys) -> bool:
        return INSTRUCTION in keys and "output" in keys


class Dolly(QuestionAndAnswer):
    name = "Dolly"
    cases = (
        Case({**_COLUMNS, "category": "maths"}, {**_COLUMNS, "category": "maths"}),
        Case({**_COLUMNS, "context": ""}, {**_COLUMNS, "context": ""}),
    )

    def claims(self, keys: Keys) -> bool:
        return INSTRUCTION in keys and CONTEXT in keys and "response" in keys

    def columns(self, keys: Keys) -> set[str]:
        return super().columns(keys) | ({"category"} & set(keys))

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        reading = super().read(row, dialogs)
        if isinstance(reading, dict) and isinstance(row.get("category"), str):
            reading["category"] = row["category"]
        return reading


class Text(Shape):
    """One text per row; a dialog if it is written in turns of `<|im_start|>role`."""

    name = "text"
    kind = Kind.TEXT
    cases = (
        Case({"text": "Once upon a time"}, "Once upon a time"),
        Case({"text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day<|im_end|>\n"}, _HELLO),
        Case({"text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day"}, _HELLO),
        Case(
            {"text": "<|im_start|>user\nIs user\n\nassistant one?<|im_end|>\n<|im_start|>assistant\nuser is."},
            [_turn(USER, "Is user\n\nassistant one?"), _turn(ASSISTANT, "user is.")],
        ),
        Case({"text": "<|im_start|>user\nHello<|im_end|>\n"}, ErrorCode.NO_ASSISTANT),
        Case({"text": ""}, ErrorCode.CONTENT_EMPTY),
        Case({"text": 7}, ErrorCode.CONTENT_NOT_TEXT),
    )

    def claims(self, keys: Keys) -> bool:
        return "text" in keys

    def label(self, keys: Keys, kind: Kind) -> str:
        return "OASST text" if kind is Kind.DIALOG else self.name

    def columns(self, keys: Keys) -> set[str]:
        return {"text", *SYSTEM_KEYS} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        text = row["text"]
        if not isinstance(text, str):
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The text is {kind(text)}, not a string.", "text")
        text_of(text, "text")
        if text.lstrip().startswith(_IM_START):
            return dialogs.dialog(_marked_turns(text), "text", _system(row))
        return text


_IM_START, _IM_END = "<|im_start|>", "<|im_end|>"
_MARKED_TURN = re.compile(r"(\w+)\n(.*?)(?:<\|im_end\|>\s*)?", re.DOTALL)


def _marked_turns(text: str) -> list[dict[str, str]]:
    """The turns of `<|im_start|>role⏎content<|im_end|>⏎…`, contents unchanged; the last end mark may be missing."""
    turns = []
    for number, part in enumerate(text.split(_IM_START)[1:]):
        turn = _MARKED_TURN.fullmatch(part)
        if not turn or _IM_END in turn[2]:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"Turn {number} is not written as <|im_start|>role … <|im_end|>.", "text"
            )
        turns.append({"role": turn[1], "content": turn[2]})
    return turns


SHAPES: Sequence[Shape] = (
    BareArray(),
    Conversation(),
    Alpaca(),
    Dolly(),
    Preference(),
    QuestionAndAnswer(),
    Tree(),
    Text(),
)
"""In order of precedence: a row with `messages` and `prompt` is a conversation."""


def is_either(kind: Kind, keys: Keys) -> bool:
    """True if the row can be a conversation or an instruction row: a question with its answer, and no column is named
    instruction.
    """
    return kind is Kind.COLUMNS and INSTRUCTION not in keys


def shape_of(keys: Keys) -> Shape | None:
    """The shape that claims rows with these keys, or None. It depends on the keys alone, so that all rows with the same
    keys are read the same way.
    """
    return next((shape for shape in SHAPES if shape.claims(keys)), None)


def as_dialog(columns: Mapping[str, str]) -> list[Message]:
    """Instruction columns as one question and its answer. A context follows the instruction on a new line."""
    question = columns["instruction"]
    if columns["context"]:
        question += "\n" + columns["context"]
    turns = [_turn(USER, question), _turn(ASSISTANT, columns["response"])]
    return [_turn(SYSTEM, columns["system"]), *turns] if columns.get("system") else turns


def as_columns(dialog: Sequence[Message]) -> dict[str, str]:
    """A dialog of one question and one answer as instruction columns. Raises `DataError` for a longer one."""
    system = dialog[0]["content"] if dialog[0]["role"] == SYSTEM else ""
    turns = dialog[1:] if system else dialog
    if len(turns) != 2:
        raise DataError(
            ErrorCode.MANY_TURNS, f"The conversation has {len(turns) // 2} answers; an instruction row has one."
        )
    return {"instruction": turns[0]["content"], "context": "", "response": turns[1]["content"], "system": system}


_PYTHON_LIST = re.compile(r"\s*+[\[{]\s*+(?:[\[{]\s*+)?'")


def decoded(value: Any, path: str) -> Any:
    """A list, which may be written as a JSON text. Raises `DataError` if the text is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if _PYTHON_LIST.match(value):
            message = f"{path} is written in Python's notation, which is not JSON."
            raise DataError(ErrorCode.PYTHON_LITERAL, message, path) from error
        raise DataError(ErrorCode.JSON_INVALID, f"{path} is a text that is not valid JSON: {error}.", path) from error


def _only(row: Mapping[str, Any], keys: Iterable[str], needed: bool = True) -> str:
    """The one of `keys` that has a value; "" if none has. Two with different values are an error."""
    found = [key for key in keys if row.get(key)]
    if not found:
        if needed:
            path = next(key for key in keys if key in row)
            raise DataError(ErrorCode.CONTENT_EMPTY, f"{path} is empty.", path)
        # 0 and false are values, though not texts: the error must say so.
        return next((key for key in keys if row.get(key) not in (None, "", [], {})), "")
    for other in found[1:]:
        if row[other] != row[found[0]]:
            raise DataError(ErrorCode.COLUMNS_CONFLICT, f"{found[0]} and {other} have different values.", other)
    return found[0]


def _asked(keys: Iterable[str]) -> tuple[str, ...]:
    """The columns of the question. `input` is one of them, unless there is an instruction: then it is the context."""
    if INSTRUCTION in keys:
        return tuple(key for key in (INSTRUCTION, *PROMPT) if key in keys)
    return tuple(key for key in (*PROMPT, INPUT) if key in keys)


def _given(keys: Iterable[str]) -> tuple[str, ...]:
    """The columns of the question's context."""
    return tuple(key for key in ((INPUT, CONTEXT) if INSTRUCTION in keys else (CONTEXT,)) if key in keys)


def _system(row: Mapping[str, Any]) -> str:
    key = _only(row, SYSTEM_KEYS, needed=False) if isinstance(row, dict) else ""
    return text_of(row[key], key) if key else ""


def _answer(row: Mapping[str, Any], key: str, dialogs: Dialogs) -> Message:
    """An answer in a column of its own: a text, a turn, or a list of one turn."""
    answer = _unwrapped(row[key])
    if isinstance(answer, dict) and any(role in answer for role in ROLE_KEYS):
        answer = [answer]
    if isinstance(answer, list) and len(answer) == 1:
        message = dialogs.messages(answer, key)[0]
        if message["role"] != ASSISTANT:
            raise DataError(
                ErrorCode.ROLE_ORDER, f"The answer is a turn of the {message['role']}, not of the assistant.", key
            )
        return message
    return _turn(ASSISTANT, text_of(answer, key))


def _unwrapped(value: Any) -> Any:
    """The list of turns in the JSON text of a CSV column; any other value unchanged."""
    if isinstance(value, str) and value.startswith("[{") and value.endswith("}]"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


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


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
