"""From turns, as people write them, to a dialog JumpStart takes: system? (user assistant)+, every content a text.

Roles and content are the only thing read; content is kept to the letter.
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
"""Names of the three roles: OpenAI's, ShareGPT's, OASST's, Gemini's."""

TOOL_ROLES = frozenset(
    ("tool", "function", "function_call", "tool_call", "observation", "function_response", "tool_response", "ipython")
)
ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value", "text")
CALLS = ("tool_calls", "function_call")

PAIR_USER = ("human", "user", "prompt", "query", "question", "instruction", "input")
PAIR_ASSISTANT = ("assistant", "bot", "gpt", "completion", "response", "answer", "output")


def plain_characters(turns: Any) -> int:
    """Characters of all contents, where the turns are a dialog just as they stand; 0 where they are not.

    Most rows are like that, so this is the heart of the inner loop. A turn as it should be is `{role, content}`, in
    this order: it is written as it was read.
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
    """The dialog of turns `{role, content}` or `{from, value}` with any names of the roles, in any order of the two;
    None of turns that need a closer look: `Dialogs` then finds out what to make of them.
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
    """Reads turns of any known form, and counts what it mended or passed over.

    `repair` allows dropping a last user turn that nobody answered.
    """

    def __init__(self, repair: bool = True) -> None:
        self.repair = repair
        self.repaired = 0
        self.ignored: Counter[str] = Counter()

    def dialog(self, turns: Any, path: str, system: str = "", answer: Message | None = None) -> list[Message]:
        """The dialog of `turns`: a list of `{role, content}` or `{from, value}`, or of `{human, assistant}` pairs.

        `system` stands before it, `answer` after a last user turn. Raises `DataError` at the first turn that does not
        belong where it is.
        """
        messages = self.messages(turns, path)
        if system:
            messages = self._with_system(messages, system, path)
        if answer and messages and messages[-1]["role"] == USER:
            messages.append(answer)
        return self.checked(messages, path)

    def messages(self, turns: Any, path: str) -> list[Message]:
        """The turns with roles mapped and contents joined to text, their order not yet checked."""
        if not isinstance(turns, list):
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"{path} is {kind(turns)}, not a list of turns.", path)
        messages: list[Message] = []
        for number, turn in enumerate(turns):
            where = f"{path}[{number}]"
            if not isinstance(turn, dict):
                raise DataError(
                    ErrorCode.SHAPE_UNKNOWN, f"{where} is {kind(turn)}, not a turn with role and content.", where
                )
            if any(key in turn for key in ROLE_KEYS):
                messages.append(self._message(turn, where))
            else:
                messages += self._pair(turn, where)
        return messages

    def checked(self, messages: list[Message], path: str) -> list[Message]:
        """The dialog, if its turns come in the right order; a trailing user turn is dropped where repairs may."""
        first = 1 if messages and messages[0]["role"] == SYSTEM else 0
        if all(message["role"] != ASSISTANT for message in messages):
            raise DataError(ErrorCode.NO_ASSISTANT, "No assistant speaks: there is nothing to learn.", path)
        for number, message in enumerate(messages[first:]):
            expected = ASSISTANT if number % 2 else USER
            if message["role"] != expected:
                where = f"{path}[{first + number}]"
                raise DataError(ErrorCode.ROLE_ORDER, _out_of_order(number, message["role"], expected), where)
        if messages[-1]["role"] == USER:
            if not self.repair:
                raise DataError(ErrorCode.TRAILING_USER, "The last turn is the user's.", f"{path}[{len(messages) - 1}]")
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
                raise DataError(ErrorCode.ROLE_TOOL, f"A turn of {role!r} is a tool's.", f"{where}.{role_key}")
            raise DataError(ErrorCode.ROLE_UNKNOWN, f"The role is {shown(role)}.", f"{where}.{role_key}")
        keys = [key for key in CONTENT_KEYS if key in turn]
        if not keys:
            raise DataError(ErrorCode.CONTENT_NOT_TEXT, "The turn has no content.", where)
        given = [key for key in keys if turn[key] not in ("", None)] or keys
        if any(turn[key] != turn[given[0]] for key in given[1:]):
            raise DataError(ErrorCode.COLUMNS_CONFLICT, f"The turn has two texts: {', '.join(given)}.", where)
        if len(turn) > 2:
            self._pass_over(turn, {role_key, *keys}, where)
        return {"role": mapped, "content": text_of(turn[given[0]], f"{where}.{given[0]}")}

    def _pass_over(self, turn: Mapping[str, Any], read: set[str], where: str) -> None:
        for key, value in turn.items():
            if key not in read and value:
                if is_media(key):
                    raise DataError(ErrorCode.MEDIA, f"The turn has {key}.", f"{where}.{key}")
                self.ignored[f"turn.{key}"] += 1

    def _pair(self, turn: Mapping[str, Any], where: str) -> list[Message]:
        asked, answered = _filled(turn, PAIR_USER), _filled(turn, PAIR_ASSISTANT)
        if not asked or not answered:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"The turn has neither a role nor a question and answer: {names(turn)}.", where
            )
        messages: list[Message] = []
        if turn.get("system"):
            messages.append({"role": SYSTEM, "content": text_of(turn["system"], f"{where}.system")})
        for role, keys in ((USER, asked), (ASSISTANT, answered)):
            if len(keys) > 1:
                raise DataError(
                    ErrorCode.COLUMNS_CONFLICT, f"The turn has two texts of the {role}: {', '.join(keys)}.", where
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
    """Whether a column holds images, sound or video: `images`, `image_path`, `video_url` …"""
    return key.lower().split("_")[0] in MEDIA


def text_of(content: Any, path: str) -> str:
    """A content as text: a string, or text blocks joined (`{type: text, text|value}`, Bedrock's `{text}`, strings).

    Raises `DataError` for anything else, and for an empty text.
    """
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        content = "".join(_block(block, f"{path}[{number}]") for number, block in enumerate(content))
    if not isinstance(content, str):
        raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content is {kind(content)}.", path)
    if not content or content.isspace():
        raise DataError(ErrorCode.CONTENT_EMPTY, "The content is empty.", path)
    return content


def _filled(turn: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Those of the keys that have something in them; all that are there, where none has."""
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
    raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"A block of the content is not text: {shown(what)}.", path)


def _out_of_order(number: int, role: str, expected: str) -> str:
    if role == SYSTEM:
        return "A system turn stands after the first."
    if number == 0:
        return f"The first turn is the {role}'s."
    return f"Two turns of the {role} in a row: the {expected}'s is missing between them."


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
    """The keys of a row for a message, the first dozen."""
    keys = [shown(key) for key in list(row)[:12]]
    return ", ".join(keys) + (", …" if len(row) > 12 else "") if keys else "no keys at all"


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
