"""What the documents are compared with."""

from collections.abc import Iterator
from typing import Any

from finetuning.runs.run_json import run_schema


def run_json_fields() -> list[str]:
    """Dotted names of all fields of run.json: for an object its fields, and the object itself if it may have another
    type too.
    """
    schema = run_schema()
    return list(_fields(schema, schema, ""))


def _fields(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[str]:
    for name, value in node["properties"].items():
        if name == "$schema":
            continue
        options = [value, *value.get("anyOf", [])]
        parts = [schema["$defs"][each["$ref"].rpartition("/")[2]] for each in options if "$ref" in each]
        if not parts or {"type": "boolean"} in options:
            yield path + name
        for each in parts:
            yield from _fields(schema, each, f"{path}{name}.")
