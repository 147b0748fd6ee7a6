"""What the commands of a deployed stage have in common: two options, a document for machines, and the time."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

COMMON = "Common options"

Stage = Annotated[str, typer.Option(envvar="FINETUNE_STAGE", help="The deployed stage.", rich_help_panel=COMMON)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.", rich_help_panel=COMMON)]


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def now() -> datetime:
    return datetime.now(UTC)
