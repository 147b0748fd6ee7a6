"""Conversations that are written out as one text, in the marks of a chat template."""

import re

from finetuning.datasets.data_errors import DataError, ErrorCode

_IM_START, _IM_END = "<|im_start|>", "<|im_end|>"
_MARKED_TURN = re.compile(r"(\w+)\n(.*?)(?:<\|im_end\|>\s*)?", re.DOTALL)

_HEADER, _HEADER_END, _TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
_BEGIN, _END = "<|begin_of_text|>", "<|end_of_text|>"

SPECIAL_TOKEN = re.compile(
    rb"<\|(?:im_start|im_end|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag"
    rb"|endoftext)\|>"
)
"""Special tokens of Llama 3 and of ChatML, as text."""


def has_special_token(row: bytes) -> bool:
    """True if special tokens are written out in a row's texts. One byte is found much faster than two."""
    return b"<" in row and b"<|" in row and SPECIAL_TOKEN.search(row) is not None


TEMPLATE_MARK = re.compile(
    rb"\[INST\]|<<SYS>>|### (?:Instruction|Response|Human|Assistant|User):|<start_of_turn>"
    rb"|<\|(?:user|assistant|system)\|>|\bUSER: |\bASSISTANT: "
)
"""Marks of other chat templates, which are not read as turns."""


def marked_turns(text: str) -> list[dict[str, str]]:
    """The turns of a text that begins with ChatML's or Llama 3's mark of a turn; none of another text.

    Contents are unchanged. The last end mark may be missing.
    """
    start = text.lstrip()
    if start.startswith(_IM_START):
        return _chatml_turns(text)
    if start.startswith((_HEADER, _BEGIN)):
        return _llama_turns(start.removeprefix(_BEGIN).lstrip())
    return []


def _chatml_turns(text: str) -> list[dict[str, str]]:
    turns = []
    for number, part in enumerate(text.split(_IM_START)[1:]):
        turn = _MARKED_TURN.fullmatch(part)
        if not turn or _IM_END in turn[2]:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"Turn {number} is not written as <|im_start|>role … <|im_end|>.", "text"
            )
        turns.append({"role": turn[1], "content": turn[2]})
    return turns


def _llama_turns(text: str) -> list[dict[str, str]]:
    """The turns of `<|start_header_id|>role<|end_header_id|>⏎⏎content<|eot_id|>…`; none of a text without them."""
    before, *parts = text.split(_HEADER)
    if not parts:
        return []
    turns = []
    for number, part in enumerate(parts):
        role, found, content = part.partition(_HEADER_END)
        content, ended, rest = content.removeprefix("\n\n").rstrip().removesuffix(_END).partition(_TURN_END)
        if before.strip() or not found or rest.strip() or (not ended and number + 1 < len(parts)):
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN,
                f"Turn {number} is not written as {_HEADER}role{_HEADER_END} … {_TURN_END}.",
                "text",
            )
        turns.append({"role": role.strip(), "content": content})
    return turns
