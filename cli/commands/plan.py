"""`finetune plan`, `models` and `verify-aws`: what a run would do and cost, before it starts."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.commands.options import AsJson, Stage

Region = Annotated[str, typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="The AWS region to plan for.")]
Specs = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, exists=True, help="A folder laid out like the JumpStart bucket. Default: the project's own."
    ),
]
Live = Annotated[bool, typer.Option("--live", help="Get specifications, prices and quotas from AWS. Starts nothing.")]


def plan(
    run_json: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A run.json; the data beside it is included.")
    ],
    specs: Specs = None,
    region: Region = "us-east-1",
    as_json: AsJson = False,
    live: Live = False,
) -> None:
    """Show what a run would do, cost and request from SageMaker, and everything that is wrong with it.

    \b
    Examples:
      finetune plan examples/chat/run.json
      finetune plan run.json --live --region eu-central-1
      finetune plan run.json --json | jq .requests

    Exit code: 0 if the run can start, 1 if it would be refused.
    """
    from cli.display.findings import checks_table
    from cli.display.text import print_json
    from cli.preflight.models import FACTS, ModelFacts
    from cli.preflight.planning import plan_run

    facts = ModelFacts.live(region) if live else ModelFacts.kept(specs or FACTS)
    planned = plan_run(run_json, facts, region)
    if as_json:
        print_json(planned.document())
    else:
        console = Console()
        console.print(
            f"Planned for a stage that allows {planned.stage.max_runtime_hours:g} h of training and any instance type, "
            "has no budget, and accepts no licence; a deployed stage may allow less."
        )
        console.print(checks_table(planned.checklist.checks))
        console.print(
            "[green]This run can start.[/]"
            if planned.can_start
            else "[red]This run would be refused. Nothing was started.[/]"
        )
    if not planned.can_start:
        raise typer.Exit(1)


def models(specs: Specs = None, region: Region = "us-east-1", as_json: AsJson = False, live: Live = False) -> None:
    """List the models that can be fine-tuned: tasks, instance types, prices, and the source of these facts.

    \b
    Examples:
      finetune models
      finetune models --json | jq '.[0].hyperparameters'
    """
    from cli.display.models import model_facts
    from cli.display.text import plain, print_json
    from cli.preflight.models import FACTS, ModelFacts

    facts = ModelFacts.live(region) if live else ModelFacts.kept(specs or FACTS)
    rows = facts.models()
    if as_json:
        print_json(rows)
        return
    console = Console()
    for row in rows:
        console.print(plain(row["model"], "bold"))
        console.print(model_facts(row))
    console.print("Prices in USD per instance hour; the default instance type comes first.")


def verify_aws(
    region: Annotated[
        str, typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="The AWS region.")
    ] = "us-east-1",
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Check what this project assumes of AWS in a real account, as far as reading can. Starts nothing; free.

    Compares models, prices, quotas and zones with AWS. If the stage is
    deployed, also asks IAM whether each role may make the calls that the
    rehearsal recorded, and Access Analyzer whether its policies are valid.

    \b
    Example:
      finetune verify-aws --region eu-central-1

    Exit code: 0, or 1 if a check failed; yellow lines alone do not fail.
    """
    from cli.display.findings import verified_table
    from cli.display.text import print_json
    from cli.live.account import verify_account

    os.environ["AWS_DEFAULT_REGION"] = region
    checks = list(verify_account(region, stage))
    if as_json:
        print_json([check.model_dump(exclude_defaults=True) for check in checks])
    else:
        Console().print(verified_table(checks))
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)
