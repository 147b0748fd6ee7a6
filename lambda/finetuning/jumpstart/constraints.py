"""The constraints of AWS's service model that boto3 does not check: patterns, maximum lengths, enumerations.

The caller passes the shape, from boto3's model of the service:

    shape = boto3.client("sagemaker").meta.service_model.operation_model("CreateTrainingJob").input_shape
    for problem in violations(shape, request): ...

botocore is not imported: only attributes of the shape are read.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

_CLASSES = {
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{L}": r"\w",
    r"\p{M}": r"\u0300-\u036f",
    r"\p{Z}": r" \u00a0",
    r"\p{N}": r"\d",
    r"\p{P}": r"!-/:-@\[-`{-~",
    r"\p{S}": r"$+<=>^`|~",
}
"""Java's character classes, as Python's. `\\w` also matches the underscore; every pattern that uses them allows it."""


def violations(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """All violations of the shape, each as `<path>: <reason>`. Unknown members are violations too."""
    kind: str = shape.type_name
    where = path or shape.name
    if kind == "structure":
        if not isinstance(value, Mapping):
            yield f"{where}: must be a structure"
            return
        for name in shape.required_members:
            if value.get(name) is None:
                yield f"{_join(path, name)}: is required"
        for name, member in value.items():
            if name not in shape.members:
                yield f"{_join(path, name)}: is not a member of {shape.name}"
            else:
                yield from violations(shape.members[name], member, _join(path, name))
    elif kind == "list":
        if not isinstance(value, list | tuple):
            yield f"{where}: must be a list"
            return
        yield from _size(shape, len(value), where, "has {} items")
        for index, item in enumerate(value):
            yield from violations(shape.member, item, f"{path}[{index}]")
    elif kind == "map":
        if not isinstance(value, Mapping):
            yield f"{where}: must be a map"
            return
        yield from _size(shape, len(value), where, "has {} entries")
        for key, item in value.items():
            yield from violations(shape.key, key, f"{path}.{key} (the key)")
            yield from violations(shape.value, item, _join(path, key))
    elif kind == "string":
        yield from _text(shape, value, where)
    elif kind in ("integer", "long", "float", "double"):
        if isinstance(value, bool) or not isinstance(value, int if kind in ("integer", "long") else int | float):
            yield f"{where}: must be a number, not {value!r}"
        else:
            yield from _size(shape, value, where, "is {}")
    elif kind == "boolean" and not isinstance(value, bool):
        yield f"{where}: must be true or false, not {value!r}"


def _text(shape: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where}: must be text, not {value!r}"
        return
    yield from _size(shape, len(value), where, "has {} characters")
    if shape.enum and value not in shape.enum:
        yield f"{where}: {value!r} is not an allowed value"
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield f"{where}: {value!r} does not match {pattern}"


def _size(shape: Any, size: float, where: str, saying: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield f"{where}: {saying.format(size)}, the minimum is {low}"
    if high is not None and size > high:
        yield f"{where}: {saying.format(size)}, the maximum is {high}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(re.sub(r"\$\{\d+,\d+\}$", "", pattern))  # some patterns have a length after the final $
