"""The layouts of rows that are understood: one class each, with the rows that test it.

A shape decides by a row's keys whether it claims the row, and reads it as a dialog, instruction columns, or a text. To
add one, write its class with `cases` and add it to `SHAPES`: the first shape there that claims a row reads it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from finetuning.datasets.answers import Alpaca, Dolly, Preference, QuestionAndAnswer
from finetuning.datasets.data_errors import DataError, ErrorCode, short_name
from finetuning.datasets.dialogs import (
    ASSISTANT,
    DELETED,
    OFFERED,
    SYSTEM,
    TREE,
    USER,
    Dialogs,
    is_on,
    kind,
    names,
    plain_characters,
    refuse_tools,
    renamed_dialog,
    text_of,
)
from finetuning.datasets.marked_text import marked_turns
from finetuning.datasets.shape import (
    BARE,
    COMPLETION,
    CONVERSATION,
    HELLO,
    INPUT,
    POLITE,
    SYSTEM_KEYS,
    Case,
    Keys,
    Kind,
    Reading,
    Shape,
    answer_key,
    answer_turn,
    decoded,
    only,
    system_text,
    turn_of,
    unwrapped,
)
from finetuning.jumpstart.family import Message

PREFERRED, NOT_PREFERRED = "preferred_output", "non_preferred_output"
REFERENCE = "reference_answer"
"""OpenAI's name for what a grader compares an answer with; a text or any other JSON."""


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
        Case({"messages": [turn_of(SYSTEM, ""), *HELLO]}, HELLO),
        Case({"messages": HELLO, "response": "Good day", "answer": "42"}, HELLO),
        Case({"messages": HELLO, "response": "Go away"}, ErrorCode.COLUMNS_CONFLICT),
        Case({"messages": [HELLO[0], {**HELLO[1], "weight": 0}]}, ErrorCode.UNTRAINED_ANSWER),
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
            ErrorCode.MEDIA,
        ),
        Case({"messages": HELLO, "tools": [], "functions": None, "parallel_tool_calls": True}, HELLO),
        Case({"messages": HELLO, "tools": [{"type": "function"}]}, ErrorCode.ROLE_TOOL),
        Case({"conversations": HELLO, "functions": '[{"name": "search"}]'}, ErrorCode.ROLE_TOOL),
        Case({"messages": HELLO, "tools": "hammer, saw"}, HELLO),
        Case({"messages": [turn_of(USER, "Hello")], "reference_answer": "Good day"}, ErrorCode.NO_ASSISTANT),
        Case({"messages": [*HELLO, turn_of(USER, "1 + 1?")], "reference_answer": {"n": 2}}, ErrorCode.NO_ASSISTANT),
        Case({"messages": HELLO, "reference_answer": "Good day"}, HELLO),
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
        refuse_tools(row)
        path = only(row, CONVERSATION)
        turns = row[path]
        simple = _simple(turns)
        if simple and not any(row.get(key) for key in (*SYSTEM_KEYS, *COMPLETION)):
            return simple
        messages = dialogs.messages(decoded(turns, path), path, system_text(row))
        if messages and messages[-1]["role"] == USER:
            if answer := answer_key(row):
                messages.append(answer_turn(row, answer, dialogs))
            elif row.get(REFERENCE):
                raise DataError(
                    ErrorCode.NO_ASSISTANT,
                    f"The row is an example for reinforcement: it has a {REFERENCE}, and no answer of the assistant.",
                    REFERENCE,
                    f"Rename {REFERENCE} to completion if it is the answer to learn, or remove the row.",
                )
        else:
            _require_same_answer(row, messages, dialogs)
        return dialogs.checked(messages, path)


class OpenAIPreference(Shape):
    """OpenAI's pairs for direct preference optimization: only the preferred answer is trained on."""

    name = "OpenAI preference pair"
    cases = (
        Case({"input": {"messages": HELLO[:1]}, PREFERRED: HELLO[1:], NOT_PREFERRED: POLITE[1:2]}, HELLO),
        Case(
            {
                "input": {"messages": [POLITE[0], *HELLO[:1]], "tools": [], "parallel_tool_calls": True},
                PREFERRED: HELLO[1:],
                NOT_PREFERRED: [],
            },
            POLITE,
        ),
        Case({"input": {"messages": HELLO[:1], "tools": [{}]}, PREFERRED: HELLO[1:]}, ErrorCode.ROLE_TOOL),
        Case({"input": {"messages": HELLO[:1]}, PREFERRED: [], NOT_PREFERRED: HELLO[1:]}, ErrorCode.NO_ASSISTANT),
        Case({"input": {"messages": HELLO}, PREFERRED: HELLO[1:]}, ErrorCode.ROLE_ORDER),
        Case({"input": "Hello", PREFERRED: HELLO[1:]}, ErrorCode.SHAPE_UNKNOWN),
    )  # fmt: skip

    def claims(self, keys: Keys) -> bool:
        return INPUT in keys and PREFERRED in keys

    def columns(self, keys: Keys) -> set[str]:
        return {INPUT, PREFERRED, NOT_PREFERRED} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        asked = row[INPUT]
        if not isinstance(asked, dict) or "messages" not in asked:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"{INPUT} is {kind(asked)}; it must be an object with messages.", INPUT
            )
        refuse_tools(asked, f"{INPUT}.")
        dialogs.ignored.update(f"{INPUT}.{short_name(key)}" for key in asked if key not in ("messages", *OFFERED))
        turns = dialogs.messages(asked["messages"], f"{INPUT}.messages")
        return dialogs.checked([*turns, *dialogs.messages(row[PREFERRED], PREFERRED)], PREFERRED)


def _require_same_answer(row: Any, messages: list[Message], dialogs: Dialogs) -> None:
    """Raises `DataError` if a finished conversation comes with another answer. Columns that need not be an answer of
    the model, such as the solution of an exercise, are counted as ignored.
    """
    for key in COMPLETION:
        if not row.get(key) or not messages or _says(row, key, messages, dialogs):
            continue
        if key in ("completion", "response", "chosen"):
            raise DataError(
                ErrorCode.COLUMNS_CONFLICT, f"The conversation ends with another answer than the column {key}.", key
            )
        dialogs.ignored[key] += 1


def _says(row: Any, key: str, messages: list[Message], dialogs: Dialogs) -> bool:
    """True if a column has the last answer of the conversation, or the whole conversation."""
    value = unwrapped(row[key])
    try:
        if isinstance(value, list) and len(value) > 1:
            return dialogs.messages(value, key) == messages[-len(value) :]
        return answer_turn(row, key, dialogs) == messages[-1]
    except DataError:
        return False


def _simple(turns: Any) -> list[Message] | None:
    """The dialog of turns in one of the two common forms; None for others."""
    return turns if plain_characters(turns) else renamed_dialog(turns)


class Tree(Shape):
    """A tree of OASST: the path from the prompt down, at every branch the reply with the best rank (0 is best) of those
    that are not deleted.
    """

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
        Case({"prompt": [turn_of(USER, "Hello")], "reward_model": {"ground_truth": "1"}}, ErrorCode.SHAPE_UNKNOWN),
        Case({"message_id": "a", "parent_id": None, "role": "prompter", "text": "Hello"}, ErrorCode.SHAPE_UNKNOWN),
        Case({"message_id": "b", "parent_id": "a", "role": "assistant", "text": "Good day"}, ErrorCode.SHAPE_UNKNOWN),
    )

    def claims(self, keys: Keys) -> bool:
        marked = any(key in keys for key in ("replies", "parent_id", "message_tree_id"))
        return marked or ("prompt" in keys and "text" not in keys)

    def columns(self, keys: Keys) -> set[str]:
        return {"prompt", "role", "text", "replies"} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        root = row.get("prompt", row)
        if not isinstance(root, dict):
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN,
                f"There is a prompt and nothing that answers it. The row has: {names(row)}.",
                "prompt",
            )
        if "replies" not in root:
            raise DataError(ErrorCode.SHAPE_UNKNOWN, TREE)
        if is_on(root.get(DELETED)):
            dialogs.refuse_marked(DELETED, root[DELETED], DELETED)
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
        kept = [reply for reply in replies if not (isinstance(reply, dict) and is_on(reply.get(DELETED)))]
        node = min(kept, key=_rank) if kept else None


def _rank(reply: Any) -> float:
    rank = reply.get("rank") if isinstance(reply, dict) else None
    return rank if isinstance(rank, int | float) else float("inf")


class Text(Shape):
    """One text per row; a dialog if it is written in turns of a chat template: ChatML's or Llama 3's."""

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
        Case(
            {
                "text": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\nGood day<|eot_id|>"
            },
            HELLO,
        ),
        Case({"text": ""}, ErrorCode.CONTENT_EMPTY),
        Case({"text": 7}, ErrorCode.CONTENT_NOT_TEXT),
    )

    def claims(self, keys: Keys) -> bool:
        return "text" in keys

    def label(self, keys: Keys, kind: Kind) -> str:
        return "text with turns" if kind is Kind.DIALOG else self.name

    def columns(self, keys: Keys) -> set[str]:
        return {"text", *SYSTEM_KEYS} & set(keys)

    def read(self, row: Any, dialogs: Dialogs) -> Reading:
        text = row["text"]
        if not isinstance(text, str):
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The text is {kind(text)}, not a string.", "text")
        text_of(text, "text")
        if turns := marked_turns(text):
            return dialogs.dialog(turns, "text", system_text(row))
        return text


SHAPES: Sequence[Shape] = (
    BareArray(),
    Conversation(),
    OpenAIPreference(),
    Preference(),
    Alpaca(),
    Dolly(),
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
