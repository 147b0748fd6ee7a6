"""What is wrong with the JSON of a line. Only lines known to be wrong get here, so it may take time."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from finetuning.datasets.data_errors import DataError, ErrorCode
from finetuning.datasets.framing import undecodable

MAX_DEPTH = 1024
"""orjson's limit."""

_DEEPEST_LOOK = 1 << 16
"""Characters, and brackets, of a wrong line that are searched for what is wrong with it."""

# Possessive repeats (`*+`): a pattern that gave back what it took would need the square of the line's length.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or the rest of the line where it is not closed."""

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_PYTHON = re.compile(r"""[\[{(]\s*+(?:[\[{(]\s*+)?'|[:,\[]\s*+(?:None|True|False)\s*+[,}\]]""")


def json_error(raw: bytes, error: orjson.JSONDecodeError) -> DataError:
    """What is most likely wrong with a line that orjson refuses."""
    if b"\0" in raw:
        return DataError(ErrorCode.NUL, f"Byte {raw.index(0) + 1} is NUL.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as undecoded:
        return undecodable(raw, undecoded)
    if "ecursion" in error.msg or _depth(raw) > MAX_DEPTH:
        return DataError(ErrorCode.JSON_TOO_DEEP, f"The JSON is nested more than {MAX_DEPTH:,} levels deep.")
    if "surrogate" in error.msg:
        message = f"Half of a character (a lone surrogate, as in \\ud83d) at {_position(text, error.pos)}."
        return DataError(ErrorCode.JSON_SURROGATE, message)
    if ("NaN" in text or "Infinity" in text) and (constant := _constant_in(text)):
        return constant
    if _PYTHON.match(text.lstrip()) or _PYTHON.search(text[:_DEEPEST_LOOK]):
        return DataError(ErrorCode.PYTHON_LITERAL, "The row is written in Python's notation, which is not JSON.")
    return DataError(ErrorCode.JSON_INVALID, _invalid(text.rstrip(), error))


INCOMPLETE = "The JSON is incomplete"


def is_cut_off(line: bytes, error: DataError) -> bool:
    """True for a last line, without a line end, whose JSON is not complete: a copy of the file that was cut off."""
    text = line.strip()
    return (
        error.code is ErrorCode.JSON_INVALID
        and not line.endswith(b"\n")
        and text[:1] in (b"{", b"[")
        and (text[-1:] not in (b"}", b"]") or error.message.startswith(INCOMPLETE))
    )


def _invalid(text: str, error: orjson.JSONDecodeError) -> str:
    """Where the JSON is wrong, what was expected there, and what was found."""
    if error.pos >= len(text):
        return f"{INCOMPLETE}: the row ends before its last bracket or quote is closed."
    where, found = _position(text, error.pos), _found(text, error.pos)
    expected = error.msg.partition(", expected ")[2]
    if expected:
        expected = _EXPECTED.get(expected, expected)
        return f"Invalid JSON at {where}: expected {expected}, found {found}."
    if "control character" in error.msg:
        return f"Invalid JSON at {where}: {found} inside a text must be escaped."
    return f"Invalid JSON at {where}: {_PROBLEMS.get(error.msg, error.msg)}."


_EXPECTED = {
    "':' after key": "':'",
    "a string key": "a name in double quotes",
    "a JSON value": "a value",
    **dict.fromkeys(("'true'", "'false'", "'null'"), "a value"),  # guessed from the first letter
}
_PROBLEMS = {
    "trailing comma is not allowed": "no comma may come before a closing bracket",
    "unexpected content after document": "there is more text after the end of the row",
    "invalid escaped sequence in string": "a backslash in a text is written \\\\",
}
"""In words; whatever else orjson says is shown as it is."""


def _position(text: str, at: int) -> str:
    """`column 14`; with the line within the row, if the row has several lines."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"column {column}" if "\n" not in text.rstrip() else f"line {line} of the row, column {column}"


def _found(text: str, at: int) -> str:
    """The word that begins there, or else the character."""
    word = re.match(r"[A-Za-z]{2,20}", text[at : at + 20])
    return f"'{word[0]}'" if word else _character(text[at])


def _character(char: str) -> str:
    """A character for a message; by name, if it cannot be seen."""
    known = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}
    return known.get(char) or (f"'{char}'" if char.isprintable() else f"the character U+{ord(char):04X}")


def _constant_in(text: str) -> DataError | None:
    """The error of a line in which NaN or Infinity comes first; Python's parser finds it.

    What else that parser refuses is of no use: orjson's error, which the caller has, says it better.
    """
    try:
        json.loads(text, parse_constant=_constant)
    except DataError as error:
        return error
    except (ValueError, RecursionError):
        return None
    return None


def _constant(name: str) -> NoReturn:
    raise DataError(ErrorCode.JSON_CONSTANT, f"{name} is not a JSON value.")


def _depth(raw: bytes) -> int:
    """How deep the first brackets of a line are nested, without those in strings."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)[:_DEEPEST_LOOK]:
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def duplicate_key(raw: bytes, row: Any) -> str:
    """A key that an object of the line has twice with different values; "" if there is none.

    `row` is the parsed line: it has only one of the two values, and the parser reports nothing.
    """
    if raw.count(b'":') == _keys(row):
        return ""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen and seen[key] != value:
                found.append(key)
            seen[key] = value
        return seen

    try:
        json.loads(raw, object_pairs_hook=look)
    except RecursionError as error:
        raise DataError(ErrorCode.JSON_TOO_DEEP, "The JSON is nested too deep to be checked.") from error
    return found[0] if found else ""


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a value with its JSON path, `messages[0].content`, in order."""
    left = [("", value)]
    while left:
        path, each = left.pop()
        if isinstance(each, str):
            yield path, each
        elif isinstance(each, dict):
            left += [(f"{path}.{key}".lstrip("."), item) for key, item in reversed(each.items())]
        elif isinstance(each, list):
            left += reversed([(f"{path}[{number}]", item) for number, item in enumerate(each)])


def _keys(value: Any) -> int:
    """The number of keys of all objects in a value."""
    keys, left = 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            keys += len(each)
            left += each.values()
        elif isinstance(each, list):
            left += each
    return keys
