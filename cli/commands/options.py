"""Arguments and options that several commands share."""

from typing import Annotated

import typer

COMMON = "Common options"

Stage = Annotated[str, typer.Option(envvar="FINETUNE_STAGE", help="The deployed stage.", rich_help_panel=COMMON)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.", rich_help_panel=COMMON)]
RunName = Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")]
EndpointName = Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")]
