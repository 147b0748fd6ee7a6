"""`finetune approve` and `finetune reject`: what a person tells a run that waits to be told."""

from typing import Annotated

import typer
from rich.console import Console

from cli.deployment import Deployment
from cli.display import plain
from cli.options import AsJson, Stage, print_json

Run = Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")]


def approve(run: Run, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Let a run that waits for approval deploy its model.

    \b
    Example:
      finetune approve pirate-0a1b2c3d
    """
    deployment = Deployment.find(stage)
    run_id = deployment.resolve(run)
    who = deployment.approve(run_id)
    if as_json:
        print_json({"run_id": run_id, "approved_by": who})
    else:
        Console().print(plain(f"Approved as {who}. Follow it with: finetune watch {run_id} --stage {stage}"))


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
    run_id = deployment.resolve(run)
    who = deployment.reject(run_id, reason)
    if as_json:
        print_json({"run_id": run_id, "rejected_by": who, "reason": reason})
    else:
        Console().print(plain(f"Rejected as {who}: {run_id} ends without an endpoint; its model is kept."))
