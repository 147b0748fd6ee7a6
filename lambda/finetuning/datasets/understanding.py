"""What was understood of an upload, in two lines that a person can confirm: its files, and its columns."""

from collections.abc import Iterator

from finetuning.datasets.data_errors import naming
from finetuning.datasets.formats import Detection, Framing
from finetuning.datasets.limits import NAME_SHOWN
from finetuning.datasets.options import named_columns
from finetuning.datasets.preparation import Preparation, SourceFile
from finetuning.datasets.shape import (
    COMPLETION,
    CONTEXT,
    CONVERSATION,
    HISTORY,
    INPUT,
    INSTRUCTION,
    PROMPT,
    SYSTEM_KEYS,
    column_name,
)
from finetuning.datasets.shapes import shape_of
from finetuning.datasets.sides import Side

COLUMNS_NAMED = 12
"""Columns that the line on columns names."""


def understood(preparation: Preparation) -> list[str]:
    """`Files: …` and `Columns: …`."""
    columns = dict.fromkeys(_columns(preparation, file) for file in preparation.files if file.side is not Side.LEFT_OUT)
    return [f"Files: {'; '.join(_files(preparation))}.", f"Columns: {'; '.join(columns)}."]


def _files(preparation: Preparation) -> Iterator[str]:
    share = preparation.options.validation_fraction
    uses = {
        Side.SPLIT: f"training, {share:.0%} held out for validation" if preparation.holds_out else "training",
        Side.TRAIN: "training",
        Side.VALIDATION: "validation",
        Side.TEST: "test, asked first in the evaluation and never trained on",
        Side.LEFT_OUT: "left out",
    }
    for side, use in uses.items():
        if names := [file.name for file in preparation.files if file.side is side]:
            yield f"{naming(list(map(_short, names)))} → {use}"


def _short(path: str) -> str:
    """The end of a long path."""
    return path if len(path) <= NAME_SHOWN else "…" + path[1 - NAME_SHOWN :]


def _columns(preparation: Preparation, file: SourceFile) -> str:
    """`question → prompt, answer → completion, with a header, delimited by ','`."""
    detection = file.detection
    if detection.framing is Framing.TEXT:
        return "lines of plain text"
    if detection.refusal:
        return "not read"
    roles = _roles(preparation, file)
    unused = [name for name in detection.columns if name not in roles]
    are_turns = detection.shape and not detection.columns
    none = "none, the rows are lists of turns" if are_turns else "none known"
    parts = [f"{name} → {role}" for name, role in roles.items()] or [none]
    if unused:
        parts.append(f"not used: {naming(unused[:COLUMNS_NAMED])}{' …' if len(unused) > COLUMNS_NAMED else ''}")
    if detection.framing is Framing.CSV:
        header = "with a header" if detection.has_header else "without a header"
        parts.append(f"{header}, delimited by {detection.delimiter!r}")
    return ", ".join(parts)


def _roles(preparation: Preparation, file: SourceFile) -> dict[str, str]:
    """The columns that are read, and what each is."""
    options, columns = preparation.options, file.detection.columns
    if chosen := options.data.columns:
        return {name: role for role, name in chosen.model_dump(exclude_none=True).items()}
    if options.template:
        return dict.fromkeys(sorted(named_columns(options)), "template")
    if file.text_column:
        return {file.text_column: "text"}
    return _known_roles(file.detection) if columns else {}


def _known_roles(detection: Detection) -> dict[str, str]:
    names = {column_name(column): column for column in detection.columns}
    shape = shape_of(tuple(names))
    read = shape.columns(tuple(names)) if shape else set()
    return {column: role_of(name, INSTRUCTION in names) for name, column in names.items() if name in read}


def role_of(name: str, has_instruction: bool) -> str:
    """What a known column is in a row."""
    if name in CONVERSATION:
        return "conversation"
    if name in COMPLETION:
        return "completion"
    if name in (INSTRUCTION, *PROMPT) or (name == INPUT and not has_instruction):
        return "prompt"
    if name in SYSTEM_KEYS:
        return "system"
    return {INPUT: "context", CONTEXT: "context", HISTORY: "earlier turns"}.get(name, name)
