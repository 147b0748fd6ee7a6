"""What is held out of training: the tail of a text, and the prompts that the tuned model is asked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from finetuning.datasets.preparation import Preparation
from finetuning.datasets.shard_result import TRAIN, VALIDATION
from finetuning.datasets.templates import Template, fill, instruction_text
from finetuning.datasets.workspace import Piece, Workspace
from finetuning.jumpstart.catalogue import FAMILIES
from finetuning.jumpstart.family import Message

TEXT_CANDIDATES = 200
"""Held-out lines of a text looked at for prompts: some may stand in the trained part, too."""

CONTINUATION = 400
"""Characters of a text given to the model, and as many to compare its continuation with."""


def cut_tail(pieces: Sequence[Piece], fraction: float, workspace: Workspace) -> tuple[list[Piece], list[Piece]]:
    """A text cut in two at the end of a line, the tail about `fraction` of its bytes: a text is read in its order, so
    its tail is held out.
    """
    length = sum(piece.end for piece in pieces)
    wanted = length - max(int(length * fraction), 1)
    return _split(pieces, _start_of_line(pieces, wanted, workspace))


def _start_of_line(pieces: Sequence[Piece], wanted: int, workspace: Workspace) -> int:
    """Where the last line starts that begins at or before `wanted`, or the first after it where there is none.

    It has text before it and after it: both sides get a line that is not blank.
    """
    first = last = None
    position, seen = 0, False
    for line in text_lines(pieces, workspace):
        if not line.isspace():
            if seen:
                first = first or position
                if position <= wanted:
                    last = position
                else:
                    break
            seen = True
        position += len(line)
    return last or first or position


def text_lines(pieces: Sequence[Piece], workspace: Workspace) -> Iterator[bytes]:
    for piece in pieces:
        with workspace.open(piece.key, piece.start) as file:
            position = piece.start
            while position < piece.end and (line := file.readline()):
                position += len(line)
                yield line


def _split(pieces: Sequence[Piece], cut: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces before and after byte `cut` of all of them together."""
    before, after = [], []
    for piece in pieces:
        middle = min(max(piece.start + cut, piece.start), piece.end)
        cut -= piece.end - piece.start
        before.append(piece._replace(end=middle))
        after.append(piece._replace(start=middle))
    return [piece for piece in before if piece.end > piece.start], [piece for piece in after if piece.end > piece.start]


def held_out_prompts(
    preparation: Preparation, workspace: Workspace, dataset: str, count: int
) -> Iterator[dict[str, Any]]:
    """The first `count` validation rows as prompts with their references, for the evaluation of the tuned model.

    `{prompt, messages, reference}`: `prompt` is the text for `inputs`, `messages` the dialog before the answer
    (chat only). Of a text the first half of a line is the prompt, the other half the reference; a line that the trained
    part holds, too, was not held out and is passed over.
    """
    key = f"{dataset}{VALIDATION}/{preparation.data_file}"
    with workspace.open(key) as file:
        lines = (line for line in file if line.strip())
        if preparation.is_text:
            trained_on = f"{dataset}{TRAIN}/{preparation.data_file}"
            for line in islice(_unseen(islice(lines, TEXT_CANDIDATES), workspace, trained_on), count):
                yield _continuation(line.decode())
        else:
            for line in islice(lines, count):
                yield _prompt(orjson.loads(line), preparation.template, preparation.family)


def _unseen(lines: Iterable[bytes], workspace: Workspace, trained_on: str) -> Iterator[bytes]:
    """The lines, stripped and each once, that the other file does not hold."""
    candidates = dict.fromkeys(line.strip() for line in lines)
    with workspace.open(trained_on) as file:
        for line in file:
            candidates.pop(line.strip(), None)
    yield from candidates


def _prompt(row: Mapping[str, Any], template: Template | None, family: str) -> dict[str, Any]:
    if "dialog" in row:
        messages: list[Message] = row["dialog"][:-1]
        reference = row["dialog"][-1]["content"]
        prompt = FAMILIES[family].chat_text(messages, add_generation_prompt=True)
        return {"prompt": prompt, "messages": messages, "reference": reference}
    if template:
        prompt, reference = instruction_text(template, row), fill(template["completion"], row)
        return {"prompt": prompt, "messages": None, "reference": reference}
    return _continuation(row["text"])


def _continuation(text: str) -> dict[str, Any]:
    half = min(len(text) // 2, CONTINUATION)
    cut = text.rfind(" ", 1, half + 1)
    cut = cut if cut > 0 else max(half, 1)
    prompt, reference = text[:cut], text[cut : cut + CONTINUATION]
    return {"prompt": prompt, "messages": None, "reference": reference}
