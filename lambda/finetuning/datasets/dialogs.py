"""Reads turns in the forms in use, and makes of them a dialog that JumpStart takes: system? (user assistant)+.

Only roles and contents are read. Content is never changed.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from finetuning.datasets.data_errors import DataError, ErrorCode, keep_frequent, short_name
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
OFFERED = ("tools", "functions")

MARKS = ("weight", "loss_weight", "train", "training", "trainable", "loss", "label")
"""Keys of a turn or a row that say, where they are 0 or false, that its answer must not be learned."""
DELETED = "deleted"
NO_VALUE: tuple[Any, ...] = (None, "", [], {})

PARENTS, IDS = ("parent_id", "parent_message_id"), ("message_id", "id")

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

    `repair`: whether a last user turn without an answer, and an empty system turn, are dropped. `untrained`: what
    becomes of answers marked not to be learned (`RowOptions.untrained_answers`).
    """

    def __init__(self, repair: bool = True, untrained: str = "refuse") -> None:
        self.repair = repair
        self.untrained = untrained
        self.repaired = 0
        self.empty_systems = 0
        self.marked = 0
        self.ignored: Counter[str] = Counter()

    def dialog(self, turns: Any, path: str, system: str = "") -> list[Message]:
        """The dialog of `turns`: a list of `{role, content}` or `{from, value}`, or of `{human, assistant}` pairs.

        `system` is put before it. Raises `DataError` at the first turn that is wrong.
        """
        return self.checked(self.messages(turns, path, system), path)

    def messages(self, turns: Any, path: str, system: str = "") -> list[Message]:
        """The turns with known roles and text contents, after `system`; their order is not checked."""
        if not isinstance(turns, list):
            raise DataError(
                ErrorCode.CONTENT_NOT_TEXT,
                f"{path} is {kind(turns)}, not a list of turns.",
                path,
                "Write the list of turns itself: [{role, content}, …].",
            )
        messages: list[Message] = []
        if any(isinstance(turn, dict) and not turn.keys().isdisjoint(PARENTS) for turn in turns):
            require_thread(turns, path)
        for number, turn in enumerate(turns):
            where = f"{path}[{number}]"
            if not isinstance(turn, dict):
                raise DataError(
                    ErrorCode.SHAPE_UNKNOWN, f"The turn is {kind(turn)}, not an object with role and content.", where
                )
            if any(key in turn for key in ROLE_KEYS):
                messages += self._message(turn, where)
            else:
                messages += self._pair(turn, where)
        return self._with_system(messages, system, path) if system else messages

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

    def _message(self, turn: Mapping[str, Any], where: str) -> list[Message]:
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
            self._ignore(turn, {role_key, *keys}, where, mapped == ASSISTANT)
        content = turn[given[0]]
        if mapped == SYSTEM and self.repair and (content is None or (isinstance(content, str) and not content.strip())):
            self.empty_systems += 1
            return []
        return [{"role": mapped, "content": text_of(content, f"{where}.{given[0]}")}]

    def _ignore(self, turn: Mapping[str, Any], read: set[str], where: str, is_answer: bool) -> None:
        for key, value in turn.items():
            if key in read or value in NO_VALUE:
                continue
            if is_media(key, value):
                raise DataError(ErrorCode.MEDIA, f"The turn contains {key}.", f"{where}.{key}")
            if (is_answer and key in MARKS and is_off(value)) or (key == DELETED and is_on(value)):
                self.refuse_marked(key, value, f"{where}.{key}")
            else:
                self.ignored[f"turn.{short_name(key)}"] += 1
                keep_frequent(self.ignored)

    def refuse_marked(self, key: str, value: Any, path: str, code: ErrorCode = ErrorCode.UNTRAINED_ANSWER) -> None:
        """Raises `DataError` for an answer marked not to be learned, unless the user trains on such answers."""
        if self.untrained != "train":
            raise DataError(code, f"{key} is {shown(value)}: this answer must not be learned.", path)
        self.marked += 1

    def _pair(self, turn: Mapping[str, Any], where: str) -> list[Message]:
        asked, answered = _filled(turn, PAIR_USER), _filled(turn, PAIR_ASSISTANT)
        if not asked or not answered:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN,
                f"The turn has neither a role nor a question with its answer. Its keys: {names(turn)}.",
                where,
            )
        messages: list[Message] = []
        self._ignore(turn, {*PAIR_USER, *PAIR_ASSISTANT, SYSTEM}, where, is_answer=True)
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


_MEDIA_VALUE = re.compile(
    r"(?:https?|s3|gs|file)://|data:|\S{200}|\S{1,200}\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|mp[34]|wav|flac|ogg|m4a|webm"
    r"|mov|avi|mkv)$",
    re.IGNORECASE,
)
"""A path, an address, or encoded bytes."""


def names_media(key: str) -> bool:
    """True if a column may have images, audio or video, by its name: `images`, `image_path`, `video_title` …"""
    return key.lower().split("_")[0] in MEDIA


def is_media(key: str, value: Any) -> bool:
    """True if a column has images, audio or video: named so, or with a path, an address, bytes or an object."""
    if not names_media(key) or value in NO_VALUE or value == "[]":
        return False
    if key.lower() in MEDIA or isinstance(value, dict | list):
        return True
    return isinstance(value, str) and _MEDIA_VALUE.match(value) is not None


def is_off(value: Any) -> bool:
    """True for 0 and false, also as a text of CSV."""
    if isinstance(value, str):
        return value.strip().lower() in ("0", "0.0", "false", "no")
    return isinstance(value, int | float) and not value


def is_on(value: Any) -> bool:
    """True for a number but 0, and for true, also as a text of CSV."""
    if isinstance(value, str):
        return value.strip().lower() in ("1", "1.0", "true", "yes")
    return isinstance(value, int | float) and bool(value)


TREE = "Messages of a tree, each on its own: use the export that nests them, with `replies`."


def require_thread(turns: Sequence[Any], path: str) -> None:
    """Raises `DataError` unless every turn answers the one before it, by its parent's id."""
    before: Any = None
    for number, turn in enumerate(turns):
        row = turn if isinstance(turn, dict) else {}
        parent = next((row[key] for key in PARENTS if key in row), None)
        if number and (parent is None or parent != before):
            raise DataError(ErrorCode.SHAPE_UNKNOWN, TREE, f"{path}[{number}]")
        before = next((row[key] for key in IDS if key in row), None)


def text_of(content: Any, path: str, between: str = "") -> str:
    """A content as text: a string, or text blocks (`{type: text, text|value}`, Bedrock's `{text}`) with `between`
    between them. A list of strings is joined with line ends.

    Raises `DataError` for anything else, and for an empty text.
    """
    if isinstance(content, dict):
        content = _block(content, path)
    if isinstance(content, list) and all(isinstance(part, str) for part in content):
        content = "\n".join(content)
    if isinstance(content, list):
        content = between.join(_block(block, f"{path}[{number}]") for number, block in enumerate(content))
    if not isinstance(content, str):
        raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content is {kind(content)}, not a text.", path)
    if not content or content.isspace():
        raise DataError(ErrorCode.CONTENT_EMPTY, "The content is empty.", path)
    return content


def refuse_tools(row: Mapping[str, Any], path: str = "") -> None:
    """Raises `DataError` for a conversation in which the model was offered tools: training would not show them."""
    for key in OFFERED:
        if (value := row.get(key)) and (offered := _tools(value)):
            called = [tool.get("function", tool) for tool in offered]
            named = [shown(each["name"]) for each in called if isinstance(each, dict) and "name" in each]
            which = f": {', '.join(named[:3])}{', …' if len(named) > 3 else ''}" if named else ""
            raise DataError(
                ErrorCode.ROLE_TOOL,
                f"The row offers {len(offered)} tool{'s' if len(offered) > 1 else ''}{which}.",
                path + key,
                f"Remove {key} from the row if its answers do not depend on them, or remove the row.",
            )


def _tools(value: Any) -> list[dict[str, Any]]:
    """The definitions in a list of them, which may be a JSON text; none for any other value."""
    if isinstance(value, str):
        if not value.lstrip().startswith("[{"):
            return []
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return [tool for tool in value if isinstance(tool, dict)] if isinstance(value, list) else []


def _filled(turn: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Those of the keys that have a value; if none has, the first that is there."""
    present = [key for key in keys if key in turn]
    return [key for key in present if turn[key]] or present[:1]


BYTES = "bytes that are not UTF-8"
"""Key of what stands for such bytes in the JSON Lines of a Parquet file."""

_TEXT_BLOCKS = ("text", "input_text", "output_text")
_TOOL_BLOCKS = frozenset(("tool_use", "tool_result", "tooluse", "toolresult", "tool_call", "function", "function_call"))
_THOUGHTS = frozenset(("thinking", "redacted_thinking", "reasoning", "reasoningcontent"))


def _block(block: Any, path: str) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, dict) and block.get("type", "text") in _TEXT_BLOCKS:
        for key in ("text", "value"):
            if isinstance(block.get(key), str):
                text: str = block[key]
                return text
    if isinstance(block, dict):
        _refuse_block(block, path)
    what = block.get("type") or names(block) if isinstance(block, dict) else kind(block)
    raise DataError(ErrorCode.CONTENT_NOT_TEXT, f"The content has a block that is not text: {shown(what)}.", path)


def _refuse_block(block: Mapping[str, Any], path: str) -> None:
    """Raises `DataError` for a block of a known kind that is not text."""
    if BYTES in block:
        raise DataError(ErrorCode.ENCODING, f"The value has bytes that are not UTF-8: {block[BYTES]}.", path)
    given = block.get("type")
    kinds = [given] if isinstance(given, str) else [key for key in block if isinstance(key, str)]
    for each in kinds:
        name = each.lower()
        if names_media(name.removeprefix("input_")) or name in ("file", "document", "input_file"):
            raise DataError(ErrorCode.MEDIA, f"The content has a block that is not text: {shown(each)}.", path)
        if name in _TOOL_BLOCKS:
            raise DataError(ErrorCode.ROLE_TOOL, f"The content has a block of a tool: {shown(each)}.", path)
        if name in _THOUGHTS:
            raise DataError(
                ErrorCode.CONTENT_NOT_TEXT,
                f"The content has a block of the model's thoughts: {shown(each)}.",
                path,
                "Remove the block, or write it as text.",
            )


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
