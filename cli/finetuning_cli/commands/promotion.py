"""`finetune promote`: a model that another account has trained and approved."""

from typing import Annotated

import typer
from rich.console import Console

from finetuning_cli.commands.options import AsJson, Stage


def promote(
    model: Annotated[str, typer.Argument(help="ARN of a model version in the other account's registry.")],
    name: Annotated[str, typer.Option(help="The run's name. Default: that of the registry's group.")] = "",
    endpoint: Annotated[str | None, typer.Option(help="The endpoint's name. Default: the run's id.")] = None,
    instance_type: Annotated[
        str | None, typer.Option(help="Instance type of the endpoint. Default: the model's own.")
    ] = None,
    ttl_hours: Annotated[
        float | None, typer.Option(min=0.1, help="Hours until the endpoint expires. Default: the stage's.")
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Copy a model that is approved in another account, and deploy it after this account's approval.

    Nothing is trained. A digest proves that the copy is the approved model.
    The stage's settings name the account and the stage from which models are
    copied: see docs/accounts.md.

    \b
    Examples:
      finetune promote arn:aws:sagemaker:us-east-1:111122223333:model-package/finetune-dev-faq/3
      finetune promote "$MODEL" --endpoint faq --stage prod
    """
    from finetuning.report import commands
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.promotion import submit_promotion

    if "/" in name:
        raise typer.BadParameter("A run's name cannot contain a slash.", param_hint="--name")
    asked = {"name": endpoint, "instance_type": instance_type, "ttl_hours": ttl_hours}
    chosen = {field: value for field, value in asked.items() if value is not None}
    run_id = submit_promotion(Deployment.find(stage), model, name, chosen).run_id
    if as_json:
        print_json({"run_id": run_id})
        return
    console = Console()
    console.print(plain(f"Promoting {model} with the run {run_id}"), soft_wrap=True)
    console.print(plain(f"Follow it with: {commands.watch(run_id, stage)}"), soft_wrap=True)
    console.print(plain(f"It waits for approval: {commands.approve(run_id, stage)}"), soft_wrap=True)
