"""Conversations that are written out in a chat template's marks."""

import re

from finetuning.datasets.data_errors import DataError, ErrorCode

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
_MARKED_TURN = re.compile(r"(\w+)\n(.*?)(?:<\|im_end\|>\s*)?", re.DOTALL)


def marked_turns(text: str) -> list[dict[str, str]]:
    """The turns of `<|im_start|>role⏎content<|im_end|>⏎…`, contents unchanged; the last end mark may be missing."""
    turns = []
    for number, part in enumerate(text.split(IM_START)[1:]):
        turn = _MARKED_TURN.fullmatch(part)
        if not turn or IM_END in turn[2]:
            raise DataError(
                ErrorCode.SHAPE_UNKNOWN, f"Turn {number} is not written as <|im_start|>role … <|im_end|>.", "text"
            )
        turns.append({"role": turn[1], "content": turn[2]})
    return turns
