"""Arguments and options that several commands share."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

ROLES = ("prompt", "completion", "system", "text")
_NEXT_COLUMN = re.compile(r",(?=(?:prompt|completion|system|text)=)")


class Untrained(StrEnum):
    """What becomes of rows with an answer that must not be learned."""

    REFUSE = "refuse"
    DROP = "drop"
    TRAIN = "train"


COMMON = "Common options"

Stage = Annotated[str, typer.Option(envvar="FINETUNE_STAGE", help="The deployed stage.", rich_help_panel=COMMON)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.", rich_help_panel=COMMON)]
RunName = Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")]
EndpointName = Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")]

DATA = "Options on the data, instead of those in run.json"
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help="What the columns are: prompt=NAME,completion=NAME, also system=NAME; or text=NAME.",
        rich_help_panel=DATA,
    ),
]
UntrainedAnswers = Annotated[
    Untrained | None,
    typer.Option(help="Rows with an answer marked not to be learned, as by weight: 0.", rich_help_panel=DATA),
]


def row_options(columns: Sequence[str] | None, untrained_answers: Untrained | None) -> dict[str, Any]:
    """The fields of `data` in run.json that are set by options. Raises `BadParameter` for columns in another form."""
    chosen: dict[str, Any] = {}
    if columns:
        pairs = [pair.partition("=") for each in columns for pair in _NEXT_COLUMN.split(each)]
        names = {role.strip(): name.strip() for role, _, name in pairs}
        if not names.keys() <= set(ROLES) or not all(names.values()):
            raise typer.BadParameter(f"Write {', '.join(f'{role}=NAME' for role in ROLES)}.", param_hint="--columns")
        chosen["columns"] = names
    if untrained_answers:
        chosen["untrained_answers"] = untrained_answers.value
    return chosen
