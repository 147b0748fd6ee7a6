"""`finetune approve`, `reject` and `stop`: what a person decides about a run."""

from typing import Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import AsJson, RunName, Stage, progress_console


def approve(run: RunName, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Approve a run that waits for approval, so that it deploys its model.

    \b
    Example:
      finetune approve pirate-0a1b2c3d
    """
    from finetuning.report import commands
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.approvals import approve_run
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    who = approve_run(found)
    if as_json:
        print_json({"run_id": found.run_id, "approved_by": who})
    else:
        follow = commands.watch(found.run_id, stage)
        Console().print(plain(f"Approved as {who}. Follow the run with: {follow}"), soft_wrap=True)


def reject(
    run: RunName,
    stage: Stage = "dev",
    reason: Annotated[str, typer.Option(help="The reason, for the run's report and the team's message.")] = "",
    as_json: AsJson = False,
) -> None:
    """Reject a run that waits for approval: it ends without deploying its model, which is kept.

    \b
    Example:
      finetune reject pirate-0a1b2c3d --reason "The answers are too long."
    """
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.approvals import reject_run
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    who = reject_run(deployment, found, reason)
    if as_json:
        print_json({"run_id": found.run_id, "rejected_by": who, "reason": reason})
    else:
        Console().print(plain(f"Rejected as {who}: {found.run_id} ends without an endpoint; its model is kept."))


def stop(run: RunName, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Stop a run: its training job ends and unfinished resources are deleted. A finished model is kept.

    \b
    Example:
      finetune stop pirate-0a1b2c3d
    """
    from finetuning.runs.status import CLEAN_UP
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run, stop_run, wait_for_clean_up

    deployment, console = Deployment.find(stage), Console(stderr=as_json)
    found = find_run(deployment, run)
    stopped = stop_run(found)
    with progress_console(as_json).status("Waiting for the clean-up"):
        status = wait_for_clean_up(deployment, found)
    if as_json:
        print_json({"run_id": found.run_id, "stopped": stopped, "state": str(status.state)})
    elif not stopped:
        console.print(plain(f"{found.run_id} has already ended ({status.state}); there was nothing to stop."))
    else:
        for event in status.events:
            if event.step == CLEAN_UP:
                console.print(plain(event.message))
