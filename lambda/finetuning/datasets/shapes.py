"""The layouts of rows that are understood: one class each, with the rows that test it.

A shape decides by a row's keys whether it claims the row, and reads it as a dialog, instruction columns, or a text. To
add one, write its class with `cases` and add it to `SHAPES`: the first shape there that claims a row reads it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from finetuning.datasets.answers import Alpaca, Dolly, Preference, QuestionAndAnswer
from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.dialogs import (
    ASSISTANT,
    USER,
    Dialogs,
    kind,
    names,
    plain_characters,
    renamed_dialog,
    text_of,
)
from finetuning.datasets.marked_text import IM_START, marked_turns
from finetuning.datasets.shape import (
    BARE,
    COMPLETION,
    CONVERSATION,
    HELLO,
    POLITE,
    SYSTEM_KEYS,
    Case,
    Keys,
    Kind,
    Reading,
    Shape,
    answer_turn,
    decoded,
    only,
    system_text,
    turn_of,
)
from finetuning.jumpstart.family import Message


class BareArray(Shape):
    name = "bare array of messages"
    cases = (
        Case([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}], HELLO),
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


class Conversation(Shape):
    """A list of turns under one of the names in use: JumpStart's, OpenAI's, ShareGPT's, and lists of pairs.

    The list may be a JSON text, as in CSV and Parquet columns. A `system` column is put before the turns. An answer in
    a column of its own (`chosen`, `completion` …) is put after them if they end with the user's.
    """

    name = "conversation"
    cases = (
        Case({"dialog": HELLO}, HELLO),
        Case(
            {
                "messages": [
                    {"content": "Hello", "role": "user"},
                    {"content": "Good day", "role": "assistant", "weight": 1},
                ]
            },
            HELLO,
        ),
        Case({"messages": '[{"role":"user","content":"Hello"},{"role":"assistant","content":"Good day"}]'}, HELLO),
        Case({"messages": "[{'role': 'user', 'content': 'Hello'}]"}, ErrorCode.PYTHON_LITERAL),
        Case({"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day"}]}, HELLO),
        Case({"conversation": [{"human": "Hello", "assistant": "Good day"}]}, HELLO),
        Case({"conversation": [{"system": "Be polite", "input": "Hello", "output": "Good day"}]}, POLITE),
        Case(
            {
                "system": [{"text": "Be polite"}],
                "messages": [
                    {"role": "user", "content": [{"text": "Hello"}]},
                    {"role": "assistant", "content": [{"type": "text", "text": "Good day"}]},
                ],
            },
            POLITE,
        ),
        Case(
            {
                "conversations": [{"from": "human", "value": "Hello"}],
                "chosen": {"from": "gpt", "value": "Good day"},
                "rejected": {"from": "gpt", "value": "What?"},
            },
            HELLO,
        ),
        Case({"messages": [*HELLO, turn_of(USER, "Anyone?")]}, HELLO),
        Case({"messages": [turn_of(USER, "Hello")]}, ErrorCode.NO_ASSISTANT),
        Case({"messages": [turn_of(ASSISTANT, "Hello"), turn_of(USER, "Hello")]}, ErrorCode.ROLE_ORDER),
        Case({"messages": [turn_of(USER, "Hello"), {"role": "assistant", "content": ""}]}, ErrorCode.CONTENT_EMPTY),
        Case(
            {"messages": [turn_of(USER, "Hello"), {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            ErrorCode.ROLE_TOOL,
        ),
        Case(
            {"messages": [turn_of(USER, "Hello"), {"role": "tool", "content": "42"}, *HELLO[1:]]}, ErrorCode.ROLE_TOOL
        ),
        Case(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *HELLO[1:]]},
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
        path = only(row, CONVERSATION)
        turns = row[path]
        simple = _simple(turns)
        if simple and not any(row.get(key) for key in SYSTEM_KEYS):
            return simple
        turns = decoded(turns, path)
        answer = only(row, COMPLETION, needed=False)
        return dialogs.dialog(turns, path, system_text(row), answer_turn(row, answer, dialogs) if answer else None)


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
            HELLO,
        ),
        Case({"role": "prompter", "text": "Hello", "replies": [{"role": "assistant", "text": "Good day"}]}, HELLO),
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


class Text(Shape):
    """One text per row; a dialog if it is written in turns of `<|im_start|>role`."""

    name = "text"
    kind = Kind.TEXT
    cases = (
        Case({"text": "Once upon a time"}, "Once upon a time"),
        Case({"text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day<|im_end|>\n"}, HELLO),
        Case({"text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day"}, HELLO),
        Case(
            {"text": "<|im_start|>user\nIs user\n\nassistant one?<|im_end|>\n<|im_start|>assistant\nuser is."},
            [turn_of(USER, "Is user\n\nassistant one?"), turn_of(ASSISTANT, "user is.")],
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
        if text.lstrip().startswith(IM_START):
            return dialogs.dialog(marked_turns(text), "text", system_text(row))
        return text


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


def shape_of(keys: Keys) -> Shape | None:
    """The shape that claims rows with these keys, or None. It depends on the keys alone, so that all rows with the same
    keys are read the same way.
    """
    return next((shape for shape in SHAPES if shape.claims(keys)), None)
