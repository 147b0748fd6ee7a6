"""Rows as the model sees them: the Llama 3.1 chat template and JumpStart's instruction template."""

import re
from collections.abc import Iterable, Mapping

from typing_extensions import TypedDict


class Message(TypedDict):
    role: str
    content: str


class Template(TypedDict):
    """template.json: each `{key}` in it is a column of every row."""

    prompt: str
    completion: str


DEFAULT_TEMPLATE: Template = {
    "prompt": (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{context}"
    ),
    "completion": "{response}",
}
"""JumpStart's own, used where the upload brings none."""

RESPONSE_MARK = "\n\n### Response:\n"
"""What JumpStart puts between an instruction and its response; a prompt at inference ends with it."""

_SYSTEM_PREFIX = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_COLUMN = re.compile(r"\{(\w+)\}")


def chat_text(messages: Iterable[Message], add_generation_prompt: bool) -> str:
    """A dialog in the Llama 3.1 chat template, special tokens spelled out.

    The template opens with a system turn even where the dialog has none, and trims every content.
    `add_generation_prompt` leaves the text where the assistant is to speak.
    """
    turns = list(messages)
    system = turns.pop(0)["content"].strip() if turns and turns[0]["role"] == "system" else ""
    parts = ["<|begin_of_text|>", _turn("system", _SYSTEM_PREFIX + system)]
    parts += [_turn(turn["role"], turn["content"].strip()) for turn in turns]
    if add_generation_prompt:
        parts.append("<|start_header_id|>assistant<|end_header_id|>\n\n")
    return "".join(parts)


def _turn(role: str, content: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"


def template_columns(template: Template) -> list[str]:
    """The columns a template names, in order of first use."""
    return list(dict.fromkeys(_COLUMN.findall(template["prompt"] + template["completion"])))


def fill(text: str, row: Mapping[str, object]) -> str:
    """Puts a row's columns in place of `{column}`. Values are not looked into: braces in them stay as they are."""
    return _COLUMN.sub(lambda match: str(row[match[1]]), text)


def instruction_text(template: Template, row: Mapping[str, object]) -> str:
    """The prompt of an instruction row as the model gets it at inference: up to where the response starts."""
    return fill(template["prompt"], row) + RESPONSE_MARK
