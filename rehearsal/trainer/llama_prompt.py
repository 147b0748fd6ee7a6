"""Llama 3.1's chat text back to messages, for a local model that was never taught its special tokens."""

import re
from collections.abc import Iterable
from typing import Any

HEADER = "<|start_header_id|>"
_TURN = re.compile(
    r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n(?P<content>.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL
)
# The lines that Llama 3.1's template puts before every system text.
_DATES = re.compile(r"\ACutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\s*")


_END_OF_TEXT = 128001
_STOPS = {
    _END_OF_TEXT: ("<|end_of_text|>", "<|endoftext|>"),
    128008: ("<|eom_id|>",),
    128009: ("<|eot_id|>", "<|im_end|>"),
}
"""Llama 3's tokens at which a text or a turn can end, by id: their names in the vocabularies of the local models."""


def end_of_text(tokenizer: Any) -> int:
    """The one token at which a base model's `generation_config` ends a text."""
    (token,) = stop_tokens(tokenizer, [_END_OF_TEXT])
    return token


def stop_tokens(tokenizer: Any, llama_ids: Iterable[int]) -> list[int]:
    """The local model's ids of Llama 3's tokens; one that it does not have, or that ends nothing, is left out."""
    vocabulary = tokenizer.get_vocab()
    names = [name for llama_id in llama_ids for name in _STOPS.get(llama_id, ())]
    return sorted({vocabulary[name] for name in names if name in vocabulary})


def messages_of(prompt: str) -> list[dict[str, str]] | None:
    """The turns of a prompt in Llama 3.1's chat format, without the one it leaves open for the answer.

    None when the text is not in that format.
    """
    if HEADER not in prompt:
        return None
    turns = [(turn["role"], turn["content"].strip()) for turn in _TURN.finditer(prompt)]
    said = [(role, _DATES.sub("", content) if role == "system" else content) for role, content in turns]
    return [{"role": role, "content": content} for role, content in said if content] or None
