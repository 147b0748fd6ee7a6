"""`finetune init`: a new run.json, by four questions."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import (
    AcceptEula,
    AsJson,
    MaxCost,
    Model,
    TaskChoice,
    TaskName,
    region_in_use,
)

if TYPE_CHECKING:
    from finetuning_cli.preflight.run_file import Licence


def init(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="The folder for the data. Created if needed.")],
    model: Model = None,
    task: TaskName = None,
    accept_eula: AcceptEula = False,
    max_cost: MaxCost = None,
    as_json: AsJson = False,
) -> None:
    """Write a run.json: asks for the model, the task, the licence and the maximum cost.

    Does not ask for values that are given as options. Never overwrites a run.json.

    \b
    Examples:
      finetune init support
      finetune init support --model meta-textgeneration-llama-3-1-8b --task chat --max-cost 20

    Exit code: 2 if there is a run.json.
    """
    from finetuning.runs.layout import RUN_FILE
    from finetuning.runs.run_json import read_request
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.preflight.run_file import Licence, run_document

    path = folder / RUN_FILE
    if path.exists():
        raise typer.BadParameter(f"{path} exists. Edit it, or choose another folder.", param_hint="FOLDER")
    model = model or _ask_model()
    task = task or _ask_task(model)
    licence = Licence.of(model, region_in_use())
    if licence and not accept_eula:
        accept_eula = _ask_licence(licence)
    max_cost = max_cost or typer.prompt("Maximum cost of the training, in USD (0: the stage's limit)", 0.0, err=True)
    document = run_document(model, task.value, accept_eula=accept_eula, max_cost_usd=max_cost or None)
    for finding in read_request(json.dumps(document).encode())[1]:
        raise typer.BadParameter(f"{finding.message} {finding.fix}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"Cannot write {path}: {error.strerror}.", param_hint="FOLDER") from error
    if as_json:
        print_json({"path": str(path), "run_json": document})
        return
    console = Console()
    console.print(plain(f"Written to {path}. Put your data into {folder}, then see what it will do and cost:"))
    console.print(plain(f"  finetune plan {folder}"), soft_wrap=True)


def _ask_model() -> str:
    from finetuning.errors import FineTuningError
    from finetuning.jumpstart.assumptions import fallback_price
    from finetuning.jumpstart.catalogue import CATALOGUE, support
    from finetuning.settings import DEFAULT_MODEL

    longest = max(map(len, CATALOGUE))
    for number, each in enumerate(CATALOGUE.values(), start=1):
        price = fallback_price(each.training_instance_type, "training")
        hourly = f"{price.usd_per_hour:7.2f} USD/h to train" if price else ""
        typer.echo(f"{number:3}  {each.model_id:{longest}} {hourly}", err=True)
    names = list(CATALOGUE)

    def chosen(answer: str) -> str:
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        try:
            return support(answer).model_id
        except FineTuningError as error:
            raise typer.BadParameter(f"{error.message} {error.fix}") from error

    default = str(names.index(DEFAULT_MODEL) + 1)
    return str(typer.prompt("Model, by number or id", default, value_proc=chosen, err=True))


def _ask_task(model: str) -> TaskChoice:
    from finetuning.jumpstart.catalogue import support

    possible = [TaskChoice.AUTO.value, *map(str, support(model).tasks)]

    def chosen(answer: str) -> TaskChoice:
        if answer in possible:
            return TaskChoice(answer)
        raise typer.BadParameter(f"{answer!r} must be one of {', '.join(possible)}.")

    question = f"Task ({', '.join(possible)}; auto: derived from the data)"
    return TaskChoice(typer.prompt(question, TaskChoice.AUTO.value, value_proc=chosen, err=True))


def _ask_licence(licence: "Licence") -> bool:
    from finetuning_cli.display.text import plain

    console = Console(stderr=True)
    typer.echo(f"The model has a licence: {licence.page}\nIts text: {licence.address}", err=True)
    while True:
        answer = str(typer.prompt("Do you accept it (yes, no, read)?", "no", err=True)).lower()
        if answer in ("yes", "y", "no", "n"):
            return answer.startswith("y")
        if answer in ("read", "r"):
            try:
                text = plain(licence.text())
            except OSError as error:
                typer.echo(str(error), err=True)
                continue
            with console.pager():
                console.print(text)
