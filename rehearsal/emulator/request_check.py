"""What the service would refuse about a request's form, from botocore's own service model.

botocore checks required members, types and minimum lengths before it sends; patterns, maximum lengths and enums lie in
the same model and are left to the service. This is written apart from the product's own check on purpose: two readers
of the model must agree.
"""

import re
from collections.abc import Iterator
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}


_JAVA_CLASSES = {
    r"\p{L}\p{M}\p{Z}\p{S}\p{N}\p{P}": r"\w\s!-/:-@\[-`{-~",
    r"\p{L}\p{Z}\p{N}": r"\w\s",
    r"\p{Alnum}": "A-Za-z0-9",
    r"\p{Print}": r"[\x20-\x7e]",
    r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]": r"[^\x00-\x08]",
    "${1,128}": "$",
    "${1,256}": "$",
}
"""The model's patterns are Java's; these are the classes Python's `re` has no name for."""


def constraint_violations(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """Each violation in SageMaker's words: `Value 'x' at 'trainingJobName' failed to satisfy constraint: …`."""
    if not _is_of_type(shape, value):
        yield _violation(value, path, f"Member must be of type {shape.type_name}")
        return
    yield from _bounds(shape, value, path)
    if isinstance(shape, StructureShape):
        yield from _members(shape, value, path)
    elif isinstance(shape, ListShape):
        for position, item in enumerate(value, start=1):
            yield from constraint_violations(shape.member, item, f"{path}.{position}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from constraint_violations(shape.key, key, f"{path}.key")
            yield from constraint_violations(shape.value, item, f"{path}.{key}.member")
    elif isinstance(shape, StringShape):
        yield from _text(shape, value, path)


def _is_of_type(shape: Shape, value: Any) -> bool:
    """JSON's true is no number; types of which nothing is said here (blobs, timestamps) pass."""
    if isinstance(value, bool) and shape.type_name in _PYTHON_TYPES:
        return bool(shape.type_name == "boolean")
    return isinstance(value, _PYTHON_TYPES.get(shape.type_name, (object,)))


def _members(shape: StructureShape, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_at(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name not in shape.members:
            yield f"Value at '{_at(path, name)}' failed to satisfy constraint: Member is not known"
        elif member is not None:
            yield from constraint_violations(shape.members[name], member, _at(path, name))


def _bounds(shape: Shape, value: Any, path: str) -> Iterator[str]:
    measured = value if isinstance(value, int | float) else len(value) if isinstance(value, str | list | dict) else None
    noun = "value" if isinstance(value, int | float) else "length"
    if measured is None or isinstance(value, bool):
        return
    if (least := shape.metadata.get("min")) is not None and measured < least:
        yield _violation(value, path, f"Member must have {noun} greater than or equal to {least}")
    if (most := shape.metadata.get("max")) is not None and measured > most:
        yield _violation(value, path, f"Member must have {noun} less than or equal to {most}")


def _text(shape: StringShape, value: str, path: str) -> Iterator[str]:
    pattern = shape.metadata.get("pattern", ".*")
    for java, python in _JAVA_CLASSES.items():
        pattern = pattern.replace(java, python)
    if not re.fullmatch(pattern, value, re.DOTALL):
        yield _violation(value, path, f"Member must satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        yield _violation(value, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")


def _violation(value: Any, path: str, constraint: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"


def _at(path: str, member: str) -> str:
    """SageMaker names members with a small first letter."""
    name = member[:1].lower() + member[1:]
    return f"{path}.{name}" if path else name
