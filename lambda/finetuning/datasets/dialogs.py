"""Reads turns in the forms in use, and makes of them a dialog that JumpStart takes: system? (user assistant)+.

Only roles and contents are read. Content is never changed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.jumpstart.family import Message

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"

ROLES = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "model"), ASSISTANT),
}
"""Names of the three roles at OpenAI, ShareGPT, OASST and Gemini."""

TOOL_ROLES = frozenset(
    ("tool", "function", "function_call", "tool_call", "observation", "function_response", "tool_response", "ipython")
)
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value", "text")
CALLS = ("tool_calls", "function_call")

PAIR_USER = ("human", "user", "prompt", "query", "question", "instruction", "input")
PAIR_ASSISTANT = ("assistant", "bot", "gpt", "completion", "response", "answer", "output")


def plain_characters(turns: Any) -> int:
    """The characters of all contents if the turns are a valid dialog as they are; otherwise 0.

    Most rows are, so this is the core of the inner loop. A valid turn is `{role, content}`, in this order: it is
    written as it was read.
    """
    expected, characters = USER, 0
    try:
        for turn in turns:
            role, content = turn.values()
            if not content or content.isspace() or turn["role"] is not role or "content" not in turn:
                return 0
            if role == expected:
                expected = ASSISTANT if expected is USER else USER
            elif role != SYSTEM or characters:
                return 0
            characters += len(content)
    except (KeyError, TypeError, AttributeError, ValueError):
        return 0
    return characters if expected is USER and len(turns) > 1 else 0


def renamed_dialog(turns: Any) -> list[Message] | None:
    """The dialog of turns `{role, content}` or `{from, value}`, in either order and with any known names of roles; None
    for all others, which `Dialogs` reads.
    """
    messages: list[Message] = []
    expected = USER
    try:
        role_key, content_key = ("role", "content") if "role" in turns[0] else ("from", "value")
        for turn in turns:
            role, content = ROLES[turn[role_key]], turn[content_key]
            if not content or content.isspace() or len(turn) != 2:
                return None
            if role is expected:
                expected = ASSISTANT if role is USER else USER
            elif role is not SYSTEM or messages:
                return None
            messages.append({"role": role, "content": content})
    except (KeyError, TypeError, AttributeError, IndexError):
        return None
    return messages if expected is USER and len(messages) > 1 else None


class Dialogs:
    """Reads turns of any known form. Counts repairs and keys that it ignores.

    `repair`: whether a last user turn without an answer is dropped.
    """

    def __init__(self, repair: bool = True) -> None:
        self.repair = repair
        self.repaired = 0
        self.ignored: Counter[str] = Counter()

    def dialog(self, turns: Any, path: str, system: str = "", answer: Message | None = None) -> list[Message]:
        """The dialog of `turns`: a list of `{role, content}` or `{from, value}`, or of `{human, assistant}` pairs.

        `system` is put before it, `answer` after a last user turn. Raises `DataError` at the first turn that is wrong.
        """
        messages = self.messages(turns, path)
        if system:
            messages = self._with_system(messages, system, path)
        if answer and messages and messages[-1]["role"] == USER:
            messages.append(answer)
        return self.checked(messages, path)

    def messages(self, turns: Any, path: str) -> list[Message]:
        """The turns with known roles and text contents; their order is not checked."""
        if not isinstance(turns, list):
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"{path} is {kind(turns)}, not a list of turns.", path)
        messages: list[Message] = []
        for number, turn in enumerate(turns):
            where = f"{path}[{number}]"
            if not isinstance(turn, dict):
                raise DataError(
                    ErrorCode.SHAPE_UNKNOWN, f"The turn is {kind(turn)}, not an object with role and content.", where
                )
            if any(key in turn for key in ROLE_KEYS):
                messages.append(self._message(turn, where))
            else:
                messages += self._pair(turn, where)
        return messages

    def checked(self, messages: list[Message], path: str) -> list[Message]:
        """The dialog if its turns are in the right order; a last user turn is dropped if repairs are allowed."""
        first = 1 if messages and messages[0]["role"] == SYSTEM else 0
        if all(message["role"] != ASSISTANT for message in messages):
            raise DataError(ErrorCode.NO_ASSISTANT, "There is no assistant turn, so there is nothing to learn.", path)
        for number, message in enumerate(messages[first:]):
            expected = ASSISTANT if number % 2 else USER
            if message["role"] != expected:
                where = f"{path}[{first + number}]"
                raise DataError(ErrorCode.ROLE_ORDER, _out_of_order(number, message["role"], expected), where)
        if messages[-1]["role"] == USER:
            if not self.repair:
                raise DataError(
                    ErrorCode.TRAILING_USER,
                    "The last turn is the user's, without an answer.",
                    f"{path}[{len(messages) - 1}]",
                )
            self.repaired += 1
            return messages[:-1]
        return messages

    def _message(self, turn: Mapping[str, Any], where: str) -> Message:
        role_key = "role" if "role" in turn else "from"
        role = turn[role_key]
        mapped = ROLES.get(role) or ROLES.get(role.strip().lower()) if isinstance(role, str) else None
        for key in CALLS:
            if turn.get(key):
                raise DataError(ErrorCode.ROLE_TOOL, f"The turn calls a tool ({key}).", f"{where}.{key}")
        if mapped is None:
            if isinstance(role, str) and role.strip().lower() in TOOL_ROLES:
                raise DataError(ErrorCode.ROLE_TOOL, f"The role {shown(role)} is a tool's.", f"{where}.{role_key}")
            raise DataError(ErrorCode.ROLE_UNKNOWN, f"Unknown role: {shown(role)}.", f"{where}.{role_key}")
        keys = [key for key in CONTENT_KEYS if key in turn]
        if not keys:
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, "The turn has no content.", where)
        given = [key for key in keys if turn[key] not in ("", None)] or keys
        if any(turn[key] != turn[given[0]] for key in given[1:]):
            raise DataError(ErrorCode.COLUMNS_CONFLICT, f"The turn has two different texts: {', '.join(given)}.", where)
        if len(turn) > 2:
            self._ignore(turn, {role_key, *keys}, where)
        return {"role": mapped, "content": text_of(turn[given[0]], f"{where}.{given[0]}")}

    def _ignore(self, turn: Mapping[str, Any], read: set[str], where: str) -> None:
        for key, value in turn.items():
            if key not in read and value:
                if is_media(key):
                    raise DataError(ErrorCode.MEDIA, f"The turn contains {key}.", f"{where}.{key}")
                self.ignored[f"turn.{key}"] += 1

    def _pair(self, turn: Mapping[str, Any], where: str) -> list[Message]:
        asked, answered = _filled(turn, PAIR_USER), _filled(turn, PAIR_ASSISTANT)
        if not asked or not answered:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN,
                f"The turn has neither a role nor a question with its answer. Its keys: {names(turn)}.",
                where,
            )
        messages: list[Message] = []
        if turn.get("system"):
            messages.append({"role": SYSTEM, "content": text_of(turn["system"], f"{where}.system")})
        for role, keys in ((USER, asked), (ASSISTANT, answered)):
            if len(keys) > 1:
                raise DataError(
                    ErrorCode.COLUMNS_CONFLICT, f"The turn has two texts for the {role}: {', '.join(keys)}.", where
                )
            messages.append({"role": role, "content": text_of(turn[keys[0]], f"{where}.{keys[0]}")})
        return messages

    def _with_system(self, messages: list[Message], system: str, path: str) -> list[Message]:
        if messages and messages[0]["role"] == SYSTEM:
            if messages[0]["content"] != system:
                raise DataError(ErrorCode.COLUMNS_CONFLICT, "The row has two different system texts.", f"{path}[0]")
            return messages
        return [{"role": SYSTEM, "content": system}, *messages]


MEDIA = frozenset(("image", "images", "audio", "audios", "video", "videos"))


def is_media(key: str) -> bool:
    """True if a column has images, audio or video: `images`, `image_path`, `video_url` …"""
    return key.lower().split("_")[0] in MEDIA


def text_of(content: Any, path: str) -> str:
    """A content as text: a string, or joined text blocks (`{type: text, text|value}`, Bedrock's `{text}`, strings).

    Raises `DataError` for anything else, and for an empty text.
    """
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        content = "".join(_block(block, f"{path}[{number}]") for number, block in enumerate(content))
    if not isinstance(content, str):
        raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content is {kind(content)}, not a text.", path)
    if not content or content.isspace():
        raise DataError(ErrorCode.CONTENT_EMPTY, "The content is empty.", path)
    return content


def _filled(turn: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Those of the keys that have a value; if none has, the first that is there."""
    present = [key for key in keys if key in turn]
    return [key for key in present if turn[key]] or present[:1]


def _block(block: Any, path: str) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, dict) and block.get("type", "text") == "text":
        for key in ("text", "value"):
            if isinstance(block.get(key), str):
                text: str = block[key]
                return text
    what = block.get("type") or names(block) if isinstance(block, dict) else kind(block)
    raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content has a block that is not text: {shown(what)}.", path)


def _out_of_order(number: int, role: str, expected: str) -> str:
    if role == SYSTEM:
        return "A system turn comes after the first turn."
    if number == 0:
        return f"The first turn is the {role}'s; it must be the user's."
    return f"Two {role} turns in a row; the {expected}'s turn between them is missing."


def kind(value: Any) -> str:
    """A JSON value's type in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, Sequence) else "an object"


def names(row: Mapping[str, Any]) -> str:
    """The first twelve keys of a row, for a message."""
    keys = [shown(key) for key in list(row)[:12]]
    return ", ".join(keys) + (", …" if len(row) > 12 else "") if keys else "none"


def shown(value: Any) -> str:
    """A value for a message, shortened to 60 characters."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
