"""`finetune first-run`: the first live run, step by step, with a budget and an end."""

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer
from rich.console import Console
from rich.prompt import Confirm

from finetuning_cli.commands.options import AsJson, Stage, progress_console

REHEARSED = Path("build") / "live"
"""Where a rehearsal's evidence goes: it proves nothing about AWS."""


def first_run(
    budget: Annotated[float, typer.Option(min=0.5, help="Maximum cost, in USD.")] = 10.0,
    stage: Stage = "dev",
    model: Annotated[str, typer.Option(help="A chat model. Default: the smallest.")] = "",
    accept_eula: Annotated[
        bool, typer.Option("--accept-eula", help="Accept the model's licence for both runs.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    remove_only: Annotated[bool, typer.Option("--remove", help="Only remove what an earlier first run left.")] = False,
    evidence: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the evidence. Default: docs/live.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a small real run of every step on AWS, check the project's assumptions, and remove everything.

    Needs a deployed stage. Costs money: it says how much and asks first.
    Ctrl-C, a failure and a spent budget end it, and everything is removed.

    \b
    Examples:
      finetune first-run --accept-eula
      finetune first-run --budget 20 --stage dev
      finetune first-run --remove

    Exit code: 0 if every assumption holds, 1 if not, 130 after Ctrl-C.
    """
    from finetuning.aws.clients import client
    from finetuning.errors import Code, FineTuningError, RunRefused
    from finetuning_cli.display.first_run import observations_table, print_plan, teller
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.live.budget import Meter
    from finetuning_cli.live.evidence import FOLDER, Evidence, Seen
    from finetuning_cli.live.first_run import COMPLETE, MODEL, FirstRun, as_interrupt, plan_first_run
    from finetuning_cli.live.first_runs import FirstRuns
    from finetuning_cli.live.removal import remaining, remove
    from finetuning_cli.live.resources import StageResources
    from finetuning_cli.stage.deployment import Deployment

    console, progress = Console(stderr=as_json), progress_console(as_json)
    deployment, region = Deployment.find(stage), client("sts").meta.region_name
    model = model or MODEL

    tell = teller(progress)
    left = remaining(deployment)
    if remove_only:
        _ask(console, "Delete these?", yes, left)
        remove(deployment, tell)
        if as_json:
            print_json({"left": []})
        else:
            console.print("Nothing is left.")
        return
    planned, estimate = plan_first_run(model, accept_eula, region)
    # The plan is what the question is about, or why there is none.
    print_plan(progress if yes and estimate else console, planned, estimate, budget, left)
    if estimate is None and as_json:
        raise RunRefused(planned.checklist.findings)
    if estimate is None:
        raise typer.Exit(1)
    if estimate.usd > budget:
        raise FineTuningError(
            Code.BUDGET_TOO_SMALL,
            f"The first run would cost up to {estimate.usd:.2f} USD; --budget is {budget:.2f} USD.",
            f"Repeat with --budget {estimate.usd + 1:.0f}, or choose a smaller model with --model.",
        )
    emulated = "AWS_ENDPOINT_URL" in os.environ
    folder = evidence or (REHEARSED if emulated else FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise typer.BadParameter(f"Cannot write to {folder}: {error.strerror}.", param_hint="--evidence") from error
    _ask(console, "Start?", yes)
    if left:
        remove(deployment, tell)
    resources = StageResources.find(stage, client("sts").get_caller_identity()["Account"], region)
    key = next(iter(resources.of_type("AWS::KMS::Key").values()), "")
    first = FirstRun(
        runs=FirstRuns(deployment, key),
        meter=Meter(budget, estimate.endpoint_usd_per_hour),
        region=region,
        model=model,
        accept_eula=accept_eula,
        run_budget_usd=max(estimate.training_usd, budget - estimate.endpoint_usd) / 2,
        tell=tell,
    )
    ended = "interrupted during the removal"
    try:
        with as_interrupt():
            ended = first.carry_out()
    finally:
        seen = first.all_observations()
        written = Evidence(
            date=datetime.now(UTC).date(),
            region=region,
            emulated=emulated,
            version=version("finetune-llama-on-aws"),
            model=model,
            instance_types=list(estimate.instance_types),
            budget_usd=budget,
            estimate_usd=round(estimate.usd, 2),
            spent_usd=round(first.meter.usd, 2),
            ended=ended,
            steps=first.steps,
            assumptions=[Seen.of(id, observation) for id, observation in seen.items()],
            left=remaining(deployment),
        )
        path = written.write(folder)
    if as_json:
        print_json(written.model_dump(mode="json"))
    else:
        console.print(observations_table(seen))
    console.print(plain(f"Cost: about {first.meter.usd:.2f} USD. Evidence: {path}"), soft_wrap=True)
    if ended == "interrupted":
        raise typer.Exit(130)
    if ended != COMPLETE or any(observation.holds is not True for observation in seen.values()):
        raise typer.Exit(1)


def _ask(console: Console, question: str, yes: bool, lines: list[str] | None = None) -> None:
    from finetuning_cli.display.text import plain

    for line in lines or []:
        console.print(plain(line), soft_wrap=True)
    if not yes and not Confirm.ask(question, console=console, default=False):
        raise typer.Exit(1)
