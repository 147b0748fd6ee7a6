"""`finetune plan`, `models` and `verify-aws`: what a run would do and cost, before it starts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from finetuning_cli.commands.options import COMMON, AsJson, Stage, progress_console, region_in_use, with_run_options

if TYPE_CHECKING:
    from finetuning_cli.stage.deployment import Deployment

Specs = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, exists=True, help="A folder laid out like the JumpStart bucket. Default: the project's own."
    ),
]
Live = Annotated[bool, typer.Option("--live", help="Get specifications, prices and quotas from AWS. Starts nothing.")]


@with_run_options
def plan(
    path: Annotated[
        Path, typer.Argument(exists=True, help="A folder with data and a run.json, a data file, or a run.json.")
    ],
    chosen: dict[str, Any],
    stage: Annotated[
        str | None,
        typer.Option(
            envvar="FINETUNE_STAGE",
            help="Plan for this stage's limits. Default: dev, if it is deployed and you are signed in.",
            rich_help_panel=COMMON,
        ),
    ] = None,
    specs: Specs = None,
    as_json: AsJson = False,
    live: Live = False,
) -> None:
    """Show whether a run would start, how long it takes, what it costs, and every problem found.

    Checks the data as the workflow does. A run.json is planned with the
    data beside it, or alone if it has another name, such as my.run.json.

    \b
    Examples:
      finetune plan examples/chat --accept-eula
      finetune plan faq.jsonl --epochs 3 --max-cost 20 --accept-eula
      finetune plan data --live --region eu-central-1
      finetune plan my.run.json --json | jq .requests

    Exit code: 0 if the run can start, 1 if it would be refused.
    """
    from finetuning_cli.display.plan import plan_report
    from finetuning_cli.display.progress_bars import reading_bar
    from finetuning_cli.display.text import print_json
    from finetuning_cli.preflight.data import LocalData
    from finetuning_cli.preflight.documents import FACTS
    from finetuning_cli.preflight.models import ModelFacts
    from finetuning_cli.preflight.planning import Circumstances, plan_run, unlimited_stage

    region = region_in_use()
    deployment, planned_for = _find_stage(stage, region)
    facts = ModelFacts.live(region) if live else ModelFacts.kept(specs or FACTS)
    given = Circumstances(facts, unlimited_stage(region))
    if deployment:
        given = Circumstances(facts, deployment.settings or given.stage, deployment.measured)
    data = LocalData.read_upload(path).with_options(chosen)
    if data.is_run_json_alone:
        planned_for += " Planned without data: there is none beside the run.json."
    with reading_bar(progress_console(as_json=True), data.files) as progress:
        planned = plan_run(data, given, name=data.name, needs_data=not data.is_run_json_alone, progress=progress)
    if as_json:
        print_json(planned.document())
    else:
        console = Console()
        console.print(plan_report(planned, planned_for, console.width))
    if not planned.can_start:
        raise typer.Exit(1)


def _find_stage(stage: str | None, region: str) -> "tuple[Deployment | None, str]":
    """The stage to plan for, and a sentence about it; None without one, unless the user named it.

    Raises `FineTuningError` if the stage that the user named cannot be read.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    from finetuning.errors import FineTuningError
    from finetuning_cli.stage.deployment import Deployment

    without = "Planned without the limits of a stage"
    if stage is None:
        try:
            signed_in = boto3.Session().get_credentials() is not None
        except BotoCoreError:  # a profile that does not exist, or a session that cannot be renewed
            signed_in = False
        if not signed_in:
            return None, f"{without}, because you are not signed in to AWS."
    try:
        found = Deployment.find(stage or "dev")
    except FineTuningError as error:
        if stage is not None:
            raise
        return None, f"{without}: {error.message}"
    if found.settings is None:
        return found, f"{without}: {found.prefix} was deployed by another version, which has no output StageSettings."
    return found, f"Planned for the stage {found.stage} in {region}."


def models(specs: Specs = None, as_json: AsJson = False, live: Live = False) -> None:
    """List the models that can be fine-tuned: tasks, instance types, prices, and the source of these facts.

    \b
    Examples:
      finetune models
      finetune models --json | jq '.[0].hyperparameters'
    """
    from finetuning_cli.display.models import model_facts
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.preflight.documents import FACTS
    from finetuning_cli.preflight.models import ModelFacts

    facts = ModelFacts.live(region_in_use()) if live else ModelFacts.kept(specs or FACTS)
    rows = facts.models()
    if as_json:
        print_json(rows)
        return
    console = Console()
    for row in rows:
        console.print(plain(row["model"], "bold"))
        console.print(model_facts(row, console.width))
    console.print(
        "Prices in USD per instance hour; the default instance type comes first. Bedrock: an hour of use of the "
        "imported model (assumed)."
    )


def verify_aws(
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Compare what this project assumes about AWS with your account. Only reads: starts nothing, free.

    Compares models, prices, quotas and zones with AWS. If the stage is
    deployed, also asks IAM whether each role may make the calls that the
    rehearsal recorded, and Access Analyzer whether its policies are valid.

    \b
    Example:
      finetune verify-aws --region eu-central-1

    Exit code: 0, or 1 if a check failed; yellow lines alone do not fail.
    """
    from finetuning_cli.display.findings import verified_table
    from finetuning_cli.display.text import print_json
    from finetuning_cli.live.account import verify_account

    region = region_in_use()
    os.environ["AWS_DEFAULT_REGION"] = region
    checks = list(verify_account(region, stage))
    if as_json:
        print_json([check.model_dump(exclude_defaults=True) for check in checks])
    else:
        Console().print(verified_table(checks))
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)
