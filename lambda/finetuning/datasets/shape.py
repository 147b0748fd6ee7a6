"""What a layout of rows is, and how its columns are read."""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import orjson

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import ASSISTANT, CONTENT_KEYS, ROLE_KEYS, SYSTEM, USER, Dialogs, text_of
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


KNOWN_COLUMNS = frozenset(
    (*CONVERSATION, *PROMPT, *COMPLETION, *SYSTEM_KEYS, INSTRUCTION, INPUT, CONTEXT, HISTORY, "text", "rejected")
)


def column_name(name: str) -> str:
    """The name of a column; a known one in lower case."""
    stripped = name.strip()
    return stripped.lower() if stripped.lower() in KNOWN_COLUMNS else name


def canonical(keys: Keys) -> Keys:
    """The keys with known ones in lower case; as they are if two would become one."""
    renamed = tuple(map(column_name, keys))
    return renamed if len(set(renamed)) == len(keys) else keys


class Case(NamedTuple):
    """A row and what it becomes: a reading, or the error that it is refused with."""

    row: Any
    becomes: Reading | ErrorCode


def turn_of(role: str, content: str) -> Message:
    return {"role": role, "content": content}


HELLO = [turn_of(USER, "Hello"), turn_of(ASSISTANT, "Good day")]
POLITE = [turn_of(SYSTEM, "Be polite"), *HELLO]
COLUMNS = {"instruction": "Add", "context": "3 + 4", "response": "7"}


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

    def plain_columns(self, keys: Keys) -> "PlainColumns | None":
        """The columns that are the whole row if they are plain texts; None if `read` needs more than those columns."""
        return None


class PlainColumns(NamedTuple):
    """The columns of a question, its context ("" if there is none) and its answer."""

    instruction: str
    context: str
    response: str

    def read(self, row: Mapping[str, Any]) -> dict[str, str] | None:
        """The row, as `Shape.read` returns it; None unless its columns are plain texts."""
        instruction, response = row[self.instruction], row[self.response]
        context = row[self.context] if self.context else ""
        for text in (instruction, response):
            if text.__class__ is not str or not text or text.isspace() or text.startswith("[{"):  # turns as JSON
                return None
        if not context:
            if context is not None and context != "":
                return None
            context = ""
        elif context.__class__ is not str or context.isspace():
            return None
        return {"instruction": instruction, "context": context, "response": response}


BARE: Keys = ("[]",)
"""The keys of a row that is not an object."""


def is_either(kind: Kind, keys: Keys) -> bool:
    """True if the row can be a conversation or an instruction row: a question with its answer, and no column is named
    instruction.
    """
    return kind is Kind.COLUMNS and INSTRUCTION not in keys


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


def only(row: Mapping[str, Any], keys: Iterable[str], needed: bool = True) -> str:
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


def answer_key(row: Mapping[str, Any]) -> str:
    """The column of the answer; "" if none has one. Of a preference pair it is `chosen`, whatever the others are."""
    if row.get("chosen") and "rejected" in row:
        return "chosen"
    return only(row, COMPLETION, needed=False)


def system_text(row: Mapping[str, Any]) -> str:
    key = only(row, SYSTEM_KEYS, needed=False) if isinstance(row, dict) else ""
    return text_of(row[key], key) if key else ""


def answer_turn(row: Mapping[str, Any], key: str, dialogs: Dialogs) -> Message:
    """An answer in a column of its own: a text, a turn, or a list of one turn."""
    answer = unwrapped(row[key])
    if isinstance(answer, dict) and any(role in answer for role in ROLE_KEYS):
        answer = [answer]
    if isinstance(answer, list) and len(answer) == 1:
        message = dialogs.messages(answer, key)[0]
        if message["role"] != ASSISTANT:
            raise DataError(
                ErrorCode.ROLE_ORDER, f"The answer is a turn of the {message['role']}, not of the assistant.", key
            )
        return message
    return turn_of(ASSISTANT, text_of(answer, key))


def unwrapped(value: Any) -> Any:
    """The list of turns in the JSON text of a CSV column; any other value unchanged, also another list."""
    if isinstance(value, str) and value.startswith("[{") and value.endswith("}]"):
        try:
            turns = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return turns if all(map(_is_turn, turns)) else value
    return value


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and all(not value.keys().isdisjoint(keys) for keys in (ROLE_KEYS, CONTENT_KEYS))


def is_texts(value: Any) -> bool:
    """True for a list of strings."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
