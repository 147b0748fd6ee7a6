"""`finetune compare` and `evaluate`: which of two models is better, and whether one still is."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import AsJson, RunName, Stage, exit_by_verdict, progress_console


def compare(
    first: Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")],
    second: Annotated[str, typer.Argument(help="Another run, which was evaluated on the same held-out rows.")],
    html: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="Write a page with the loss curves to this file, too.")
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Compare two runs: scores on the same held-out rows, losses, cost, and the settings that differ.

    Only the answers that the runs have kept are read: nothing is asked
    again. Runs on the same data hold out the same rows.

    \b
    Examples:
      finetune compare pirate-0a1b2c3d pirate-4e5f6a7b
      finetune compare pirate-0a1b2c3d pirate --html pirates.html
    """
    from finetuning.evaluation.run_comparison import compare_runs
    from finetuning.report.comparison_page import render
    from finetuning_cli.display.run_comparison import comparison_view
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.evaluation import evaluated_run
    from finetuning_cli.stage.runs import find_run

    deployment = Deployment.find(stage)
    runs = [evaluated_run(find_run(deployment, name)) for name in (first, second)]
    compared = compare_runs(*runs)
    if html:
        try:
            html.write_text(render(compared, *runs), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"Cannot write {html}: {error.strerror}.", param_hint="--html") from error
    if as_json:
        print_json(compared.model_dump(mode="json") | ({"saved": str(html)} if html else {}))
        return
    console = Console()
    console.print(comparison_view(compared, console.width))
    if html:
        console.print(plain(f"Saved to {html}"), soft_wrap=True)


def evaluate(
    run: RunName,
    prompts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help='Ask these instead: a text file with one prompt per line, or .jsonl with {"prompt", "reference"}.',
        ),
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Evaluate the live endpoint of a run again, and print the verdict.

    Asks the prompts of the run's own evaluation again, and compares with
    the base model's answers of that time. Keeps the result beside the run's
    own evaluation, which is not changed.

    \b
    Examples:
      finetune evaluate pirate
      finetune evaluate pirate --prompts questions.jsonl --json | jq .evaluation.summary

    Exit code: 0, 3 if tuning made no measurable change, 4 if it made the
    answers worse, 1 if the model is broken.
    """
    from finetuning.evaluation.verdict import verdict
    from finetuning_cli.display.answers import answers_table
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.evaluation import ask_again, keep, live_model, read_prompts
    from finetuning_cli.stage.runs import find_run

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    try:
        questions = read_prompts(prompts, found) if prompts else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--prompts") from error
    endpoint, model = live_model(deployment, found)
    with progress_console(as_json).status("Asking") as status:
        report = ask_again(found, model, questions, status.update)
    address, document = keep(found, endpoint, prompts.name if prompts else "held-out", report)
    if as_json:
        print_json(document.model_dump(mode="json") | {"verdict": str(report.verdict), "kept": address})
    else:
        console = Console()
        console.print(answers_table(report))
        console.print(plain(verdict(report)), soft_wrap=True)
        console.print(plain(f"Kept at {address}", "dim"), soft_wrap=True)
    exit_by_verdict(report.verdict)
