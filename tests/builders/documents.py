"""What the documents are compared with."""

from collections.abc import Iterator
from typing import Any

from finetuning.runs.run_json import run_schema


def run_json_fields() -> list[str]:
    """Dotted names of all fields of run.json: for an object its fields, and the object itself if it may have another
    type too.
    """
    return [name for name, _ in _run_json()]


def run_json_defaults() -> dict[str, Any]:
    """The defaults in the schema of run.json, by the field's dotted name; a field without one is left out."""
    return {name: node["default"] for name, node in _run_json() if node.get("default") is not None}


def _run_json() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = run_schema()
    return _fields(schema, schema, "")


def _fields(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in node["properties"].items():
        if name == "$schema":
            continue
        options = [value, *value.get("anyOf", [])]
        parts = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in options if "$ref" in each]
        if not parts or {"type": "boolean"} in options:
            yield path + name, value
        for each in parts:
            yield from _fields(schema, each, f"{path}{name}.")
