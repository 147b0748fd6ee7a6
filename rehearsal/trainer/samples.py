"""Channel folders → token sequences, in JumpStart's three layouts.

Chat: `*.jsonl` of `{"dialog": [{"role", "content"}, …]}`. Instruction: `*.jsonl` and `template.json` with `prompt` and
`completion`. Domain adaptation: one `.txt`, `.csv` or `.json` file, column `text` or else the first.

Not knowable from outside, and so a choice of this stand-in: JumpStart's script may or may not leave the prompt out of
the loss, pack short samples together, or end a text with the end-of-text token. Here chat counts the assistants' words,
instruction the completion, domain adaptation every token; only domain adaptation packs, and each of its texts ends.
"""

import csv
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from rehearsal.trainer.llama_prompt import end_of_text
from rehearsal.trainer.opt_ml import Hyperparameters, JobError

RESPONSE_KEY = "\n\n### Response:\n"
IGNORED = -100  # the label that the loss leaves out
DEFAULT_MAX_TOKENS = 1024  # of max_input_length -1, unless the model itself takes less

Tokenizer = Any  # transformers' tokenizers carry no useful types


@dataclass(frozen=True)
class Sample:
    """Token ids, and for each whether the loss counts it."""

    ids: tuple[int, ...]
    counted: tuple[bool, ...]

    @property
    def labels(self) -> list[int]:
        return [token if counts else IGNORED for token, counts in zip(self.ids, self.counted, strict=True)]


def read_samples(folder: Path, settings: Hyperparameters, tokenizer: Tokenizer, model_max_tokens: int) -> list[Sample]:
    """Every sample of one channel, cut to the input length. Raises `JobError` with file and line of what is wrong."""
    max_tokens = settings.max_input_length if settings.max_input_length > 0 else DEFAULT_MAX_TOKENS
    max_tokens = min(max_tokens, model_max_tokens)
    if settings.task == "domain_adaptation":
        return packed([encoded(tokenizer, text, end=True) for text in texts(folder)], max_tokens)
    pieces = chat_pieces(folder, tokenizer) if settings.task == "chat" else instruction_pieces(folder, settings)
    samples = [joined(tokenizer, sample, ends=settings.task == "instruction") for sample in pieces]
    cut = [Sample(sample.ids[:max_tokens], sample.counted[:max_tokens]) for sample in samples]
    if not (usable := [sample for sample in cut if any(sample.counted[1:])]):
        raise JobError(f"{folder.name}: no row has an answer within {max_tokens} tokens; raise max_input_length")
    return usable


def split(samples: Sequence[Sample], settings: Hyperparameters) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples, where the job has no validation channel."""
    shuffled = random.Random(settings.train_data_split_seed).sample(samples, len(samples))  # noqa: S311 - no secret
    held_out = round(len(shuffled) * settings.validation_split_ratio)
    return shuffled[held_out:], shuffled[:held_out]


Piece = tuple[str, bool]  # text, and whether the loss counts it


class Turn(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class ChatRow(BaseModel):
    """An optional system turn, then user and assistant in strict alternation, the last turn the assistant's."""

    dialog: list[Turn]

    @model_validator(mode="after")
    def _alternates(self) -> Self:
        roles = [turn.role for turn in self.dialog]
        spoken = roles[1:] if roles[:1] == ["system"] else roles
        if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
            raise ValueError(f"user and assistant must alternate and the assistant end; the roles are {roles}")
        return self


def chat_pieces(folder: Path, tokenizer: Tokenizer) -> Iterator[list[Piece]]:
    for where, row in json_lines(folder):
        try:
            dialog = ChatRow.model_validate(row).model_dump()["dialog"]
        except ValidationError as error:
            detail = error.errors()[0]
            path = ".".join(map(str, detail["loc"]))
            raise JobError(f"{where}: {path}: {detail['msg']}") from error
        yield rendered_dialog(dialog, tokenizer)


def rendered_dialog(dialog: list[dict[str, str]], tokenizer: Tokenizer) -> list[Piece]:
    """The dialog in the model's own chat format, the assistants' turns apart."""

    def text(turns: int, add_generation_prompt: bool) -> str:
        return str(
            tokenizer.apply_chat_template(dialog[:turns], tokenize=False, add_generation_prompt=add_generation_prompt)
        )

    pieces, done = [], ""
    for at, turn in enumerate(dialog):
        if turn["role"] != "assistant":
            continue
        asked, answered = text(at, True), text(at + 1, False)
        pieces += [(asked[len(done) :], False), (answered[len(asked) :], True)]
        done = answered
    return pieces


def instruction_pieces(folder: Path, settings: Hyperparameters) -> Iterator[list[Piece]]:
    template = read_template(folder)
    key = RESPONSE_KEY if settings.add_input_output_demarcation_key else ""
    for where, row in json_lines(folder):
        try:
            prompt, completion = (template[part].format(**row) for part in ("prompt", "completion"))
        except (KeyError, IndexError, ValueError) as error:
            raise JobError(f"{where}: template.json does not fit the row: {error!r}") from error
        yield [(prompt + key, False), (completion, True)]


def read_template(folder: Path) -> dict[str, str]:
    file = folder / "template.json"
    try:
        template = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise JobError(f"instruction tuning needs {file.name} in channel {folder.name}: {error}") from error
    if not isinstance(template, dict) or set(template) != {"prompt", "completion"}:
        raise JobError(f"{file.name} must have exactly the keys prompt and completion")
    return template


def json_lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of the channel's `*.jsonl` files with its place (`file line n`)."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise JobError(f"channel {folder.name} holds no .jsonl file")
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{file.name} line {number}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise JobError(f"{where} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise JobError(f"{where} holds no JSON object")
                yield where, row


def texts(folder: Path) -> list[str]:
    """The texts of the one file of a domain adaptation channel; a `.txt` file has one a line."""
    files = sorted(file for file in folder.iterdir() if file.suffix in {".txt", ".csv", ".json"})
    if len(files) != 1:
        raise JobError(f"domain adaptation takes exactly one .txt, .csv or .json file; {folder.name} has {len(files)}")
    file = files[0]
    if file.suffix == ".txt":
        found = file.read_text(encoding="utf-8").splitlines()
    else:
        rows = csv_rows(file) if file.suffix == ".csv" else json_rows(file)
        found = [str(row["text"] if "text" in row else next(iter(row.values()), "")) for row in rows]
    if not (filled := [text for text in found if text.strip()]):
        raise JobError(f"{file.name} holds no text")
    return filled


def csv_rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def json_rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a `.json` file: an array of objects, or one object a line."""
    content = file.read_text(encoding="utf-8")
    try:
        rows = json.loads(content) if content.lstrip().startswith("[") else list(map(json.loads, content.splitlines()))
    except ValueError as error:
        raise JobError(f"{file.name} is not JSON: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise JobError(f"{file.name} must hold objects")
    return list(rows)


def encoded(tokenizer: Tokenizer, text: str, *, end: bool) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, end_of_text(tokenizer)] if end else list(ids)


def joined(tokenizer: Tokenizer, pieces: Iterable[Piece], *, ends: bool) -> Sample:
    """One sample; the pieces meet where a prompt ends at inference, so no token spans two of them."""
    ids: list[int] = []
    counted: list[bool] = []
    for text, counts in pieces:
        piece = encoded(tokenizer, text, end=ends and counts)
        ids += piece
        counted += [counts] * len(piece)
    return Sample(tuple(ids), tuple(counted))


def packed(texts: Iterable[list[int]], max_tokens: int) -> list[Sample]:
    """All texts end to end, cut into samples of `max_tokens`."""
    ids = list(chain.from_iterable(texts))
    blocks = [tuple(ids[at : at + max_tokens]) for at in range(0, len(ids), max_tokens)]
    return [Sample(block, (True,) * len(block)) for block in blocks if len(block) > 1]
