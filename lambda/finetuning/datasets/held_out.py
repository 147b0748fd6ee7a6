"""What is held out of training: the end of a text, and the prompts for the evaluation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Any

import orjson
from xxhash import xxh3_128_digest as digest_of

from finetuning.datasets.preparation import Preparation
from finetuning.datasets.shard_result import TEST, TRAIN, VALIDATION, Rows
from finetuning.datasets.templates import Template, fill, instruction_text
from finetuning.datasets.workspace import Piece, Workspace
from finetuning.jumpstart.catalogue import FAMILIES
from finetuning.jumpstart.family import Message

TEXT_SPARES = 200
"""Held-out lines of a text that are tried besides as many as are wanted: some may also be in the trained part."""

CONTINUATION = 400
"""Characters of a text given to the model, and as many to compare its continuation with."""


def cut_tail(pieces: Sequence[Piece], fraction: float, workspace: Workspace) -> tuple[list[Piece], list[Piece]]:
    """A text cut in two at the end of a line: the second part has about `fraction` of the bytes. It is the end of the
    text that is held out, because the order of a text matters.
    """
    length = sum(piece.end for piece in pieces)
    wanted = length - max(int(length * fraction), 1)
    return split(pieces, _start_of_line(pieces, wanted, workspace))


def _start_of_line(pieces: Sequence[Piece], wanted: int, workspace: Workspace) -> int:
    """The start of the last line that begins at or before `wanted`; if there is none, of the first line after it.

    Both parts get a line that is not blank.
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


def split(pieces: Sequence[Piece], cut: int) -> tuple[list[Piece], list[Piece]]:
    """The pieces before and after byte `cut` of all pieces together."""
    before, after = [], []
    for piece in pieces:
        middle = min(max(piece.start + cut, piece.start), piece.end)
        cut -= piece.end - piece.start
        before.append(piece._replace(end=middle))
        after.append(piece._replace(start=middle))
    return [piece for piece in before if piece.end > piece.start], [piece for piece in after if piece.end > piece.start]


def held_out_prompts(
    preparation: Preparation, workspace: Workspace, dataset: str, rows: Rows, count: int
) -> Iterator[dict[str, Any]]:
    """`count` held-out rows as prompts with their reference answers, for the evaluation of the tuned model: the
    upload's own test rows, then validation rows, of each those with the smallest digests. These are the same for every
    run on the same data, also if another fraction is held out: the digest decides that as well.

    `{prompt, messages, reference}`: `prompt` is the text for `inputs`, `messages` the dialog before the answer (chat
    only). In a text the first half of a line is the prompt, the other half the reference; a line that is also in the
    trained part is skipped.
    """
    if preparation.is_text:
        lines = _held_out_lines(preparation, workspace, dataset, rows, count + TEXT_SPARES)
        trained_on = f"{dataset}{TRAIN}/{preparation.data_file}"
        for line in islice(_unseen(lines, workspace, trained_on), count):
            yield _continuation(line.decode())
    else:
        for line in _held_out_lines(preparation, workspace, dataset, rows, count):
            yield _prompt(orjson.loads(line), preparation.template, preparation.family)


def _held_out_lines(
    preparation: Preparation, workspace: Workspace, dataset: str, rows: Rows, count: int
) -> Iterator[bytes]:
    for channel, held_out in ((TEST, rows.test), (VALIDATION, rows.validation)):
        if held_out and count > 0:
            with workspace.open(f"{dataset}{channel}/{preparation.data_file}") as file:
                chosen = nsmallest(count, (line for line in file if line.strip()), key=digest_of)
            yield from chosen
            count -= len(chosen)


def _unseen(lines: Iterable[bytes], workspace: Workspace, trained_on: str) -> Iterator[bytes]:
    """The lines, stripped and without repetitions, that are not in the other file."""
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
