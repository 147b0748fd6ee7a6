"""`finetune approve`, `reject` and `stop`: what a person tells a run that goes on."""

import time
from typing import Annotated

import typer
from rich.console import Console

from cli.display.runs import plain
from cli.options import AsJson, Stage, print_json
from cli.stage.approvals import approve_run, reject_run
from cli.stage.deployment import Deployment
from cli.stage.runs import find_run, stop_run
from finetuning.errors import Code, FineTuningError
from finetuning.report import commands
from finetuning.runs.status import CLEAN_UP, RunStatus

CLEAN_UP_SECONDS = 120
"""From the end of an execution to the word of its clean-up: an event, a function, some calls."""

Run = Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")]


def approve(run: Run, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Let a run that waits for approval deploy its model.

    \b
    Example:
      finetune approve pirate-0a1b2c3d
    """
    deployment = Deployment.find(stage)
    run_id = find_run(deployment, run)
    who = approve_run(deployment, run_id)
    if as_json:
        print_json({"run_id": run_id, "approved_by": who})
    else:
        Console().print(plain(f"Approved as {who}. Follow it with: {commands.watch(run_id, stage)}"), soft_wrap=True)


def reject(
    run: Run,
    stage: Stage = "dev",
    reason: Annotated[str, typer.Option(help="Why; the run's report and the team's message say it.")] = "",
    as_json: AsJson = False,
) -> None:
    """End a run that waits for approval without deploying its model, which is kept.

    \b
    Example:
      finetune reject pirate-0a1b2c3d --reason "The answers are too long."
    """
    deployment = Deployment.find(stage)
    run_id = find_run(deployment, run)
    who = reject_run(deployment, run_id, reason)
    if as_json:
        print_json({"run_id": run_id, "rejected_by": who, "reason": reason})
    else:
        Console().print(plain(f"Rejected as {who}: {run_id} ends without an endpoint; its model is kept."))


def stop(run: Run, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Stop a run: its training job ends, what it had half made is deleted. A model it has finished is kept.

    \b
    Example:
      finetune stop pirate-0a1b2c3d
    """
    deployment, console = Deployment.find(stage), Console(stderr=as_json)
    run_id = find_run(deployment, run)
    stopped = stop_run(deployment, run_id)
    with console.status("Waiting for the clean-up"):
        status = _cleaned_up(deployment, run_id)
    if as_json:
        print_json({"run_id": run_id, "stopped": stopped, "state": str(status.state)})
    elif not stopped:
        console.print(plain(f"{run_id} was {status.state} already; there was nothing to stop."))
    else:
        for event in status.events:
            if event.step == CLEAN_UP:
                console.print(plain(event.message))


def _cleaned_up(deployment: Deployment, run_id: str) -> RunStatus:
    """The run's status once it is final."""
    deadline = time.monotonic() + CLEAN_UP_SECONDS
    while time.monotonic() < deadline:
        status = deployment.status(run_id)
        if status is not None and status.state.is_final:
            return status
        time.sleep(1)
    raise FineTuningError(
        Code.CLEAN_UP_LATE,
        f"The execution of {run_id} is stopped; its clean-up has said nothing for {CLEAN_UP_SECONDS} s.",
        f"Look at what is left with `{commands.clean_up(run_id, deployment.stage)}`. "
        "The sweep of runs, every quarter of an hour, finishes what the clean-up did not.",
    )
