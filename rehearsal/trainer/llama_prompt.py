"""Llama 3.1's chat text back to messages, for a local model that was never taught its special tokens."""

import re

HEADER = "<|start_header_id|>"
_TURN = re.compile(
    r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n(?P<content>.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL
)
# The lines that Llama 3.1's template puts before every system text.
_DATES = re.compile(r"\ACutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\s*")


def messages_of(prompt: str) -> list[dict[str, str]] | None:
    """The turns of a prompt in Llama 3.1's chat format, without the one it leaves open for the answer.

    None when the text is not in that format.
    """
    if HEADER not in prompt:
        return None
    turns = [(turn["role"], turn["content"].strip()) for turn in _TURN.finditer(prompt)]
    said = [(role, _DATES.sub("", content) if role == "system" else content) for role, content in turns]
    return [{"role": role, "content": content} for role, content in said if content] or None
