"""Why a line is not JSON, or not as good as it looks: asked only of lines known to be wrong, so it may take time."""

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
    """The error of a line that orjson refuses, by what is most likely wrong with it."""
    if b"\0" in raw:
        return DataError(ErrorCode.NUL, f"Byte {raw.index(0) + 1} is NUL.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as undecoded:
        return undecodable(raw, undecoded)
    if "ecursion" in error.msg or _depth(raw) > MAX_DEPTH:
        return DataError(ErrorCode.JSON_TOO_DEEP, f"The value is nested more than {MAX_DEPTH} deep.")
    if "surrogate" in error.msg:
        return DataError(ErrorCode.JSON_SURROGATE, f"Column {error.colno}: half of a character (a lone surrogate).")
    if ("NaN" in text or "Infinity" in text) and (constant := _constant_in(text)):
        return constant
    if _PYTHON.match(text.lstrip()) or _PYTHON.search(text[:_DEEPEST_LOOK]):
        return DataError(ErrorCode.PYTHON_LITERAL, "This is a Python literal, not JSON.")
    what = "ends too early" if error.pos >= len(text.rstrip()) else f"is wrong at column {error.colno}"
    return DataError(ErrorCode.JSON_INVALID, f"The JSON {what}: {error.msg.split(':')[0]}.")


def _constant_in(text: str) -> DataError | None:
    """The error of a line whose first error is NaN or Infinity, which Python's parser tells by name.

    Whatever else that parser refuses is told better by orjson's error, which the caller has.
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
    """How deep the first brackets of a line nest, strings left out."""
    deepest = depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)[:_DEEPEST_LOOK]:
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def duplicate_key(raw: bytes, row: Any) -> str:
    """A key that an object of the line has twice with different values, "" where there is none.

    `row` is the line parsed: it holds one of the two, and a parser does not tell.
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
        raise DataError(ErrorCode.JSON_TOO_DEEP, "The value is nested too deep to be looked through.") from error
    return found[0] if found else ""


def texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text within a value with its JSON path, `messages[0].content`, the first ones first."""
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
    """How many keys all objects within a value have."""
    keys, left = 0, [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            keys += len(each)
            left += each.values()
        elif isinstance(each, list):
            left += each
    return keys
