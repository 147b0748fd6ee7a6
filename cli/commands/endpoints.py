"""`finetune ask`, `endpoints`, `extend`, `deploy`, `rollback` and `clean-up`: what runs put up, from the terminal."""

import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.prompt import Confirm

from cli.display.runs import endpoints_table, plain
from cli.options import AsJson, Stage, now, print_json
from cli.stage.clean_up import remaining_resources, remove_resources
from cli.stage.deployment import Deployment
from cli.stage.endpoints import extend_endpoint, find_endpoint, is_rolled_back, list_endpoints, roll_back
from cli.stage.runs import find_run, has_taken_over, list_run_ids, redeploy
from finetuning.aws.sagemaker_runtime import asker, stream_answer
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.questions import PARAMETERS, as_inputs
from finetuning.report import commands


def ask(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")],
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    stage: Stage = "dev",
    system: Annotated[str, typer.Option(help="The system turn of a chat.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Send the text as it is.")] = False,
    instruction: Annotated[bool, typer.Option("--instruction", help="Send it as an instruction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint, in the form its run was trained on unless told otherwise.

    \b
    Examples:
      finetune ask finetune-dev-pirate-0a1b2c3d "Why is the sea salty?"
      finetune ask pirate-0a1b2c3d "Why is the sea salty?" --system "Answer in Latin."
    """
    full_name, plan = find_endpoint(Deployment.find(stage), endpoint)
    task = str(plan.task) if plan and plan.task else "chat"
    task = "domain_adaptation" if raw else "instruction" if instruction else "chat" if system else task
    inputs = as_inputs(prompt, task, plan.template if plan else None, system)
    if as_json:
        with Console(stderr=True).status("Waiting for the answer"):
            reply = asker(full_name)(inputs)
    else:
        console = Console()
        reply = stream_answer(full_name, inputs, _printer(console))
        console.print()
    if reply.error is not None:
        raise FineTuningError(
            Code.ENDPOINT_FAILED,
            f"The endpoint {full_name} did not answer: {reply.error}",
            "Look at its status with `finetune endpoints`, and at its log in CloudWatch.",
        )
    if as_json:
        print_json(
            {
                "endpoint": full_name,
                "inputs": inputs,
                "answer": reply.text,
                "finished": reply.finished,
                "latency_ms": reply.latency_ms,
            }
        )
    elif reply.finished is False:
        Console(stderr=True).print(f"(cut off at {PARAMETERS['max_new_tokens']} tokens)", style="dim")


def _printer(console: Console) -> Callable[[str], None]:
    """Prints pieces of a text as they come, without the space before the first."""
    begun = False

    def on_text(piece: str) -> None:
        nonlocal begun
        text = piece if begun else piece.lstrip()
        if text:
            begun = True
            console.print(plain(text), end="", soft_wrap=True)

    return on_text


def endpoints(stage: Stage = "dev", as_json: AsJson = False) -> None:
    """List the endpoints that runs made: age, traffic, when they go and why, and what they cost.

    \b
    Examples:
      finetune endpoints
      finetune endpoints --json | jq '[.[].usd_per_hour] | add'
    """
    found = list(list_endpoints(Deployment.find(stage)))
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif found:
        console = Console()
        console.print(endpoints_table(found, now(), console.width))
    else:
        Console().print("No endpoints: nothing costs money by the hour.")


def extend(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")],
    hours: Annotated[float, typer.Option(min=0.1, help="For how long from now it is kept at least.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Keep an endpoint for at least so many hours from now, whether or not anybody asks it anything.

    \b
    Example:
      finetune extend faq --hours 4
    """
    deployment = Deployment.find(stage)
    name, _ = find_endpoint(deployment, endpoint)
    goes = extend_endpoint(deployment, name, hours)
    if as_json:
        print_json({"endpoint": name, "goes_at": goes.at.isoformat() if goes else None})
    elif goes:
        Console().print(plain(f"{name} stays until {goes.at:%Y-%m-%d %H:%M} UTC at least"))
    else:
        Console().print(plain(f"{name} does not go by itself, and is kept"))


def deploy(
    run: Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")],
    ttl_hours: Annotated[float | None, typer.Option(min=0.1, help="Default: as the run had it.")] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Deploy the model of an earlier run once more, without training.

    \b
    Examples:
      finetune deploy pirate --ttl-hours 2
      finetune deploy pirate-0a1b2c3d && finetune watch pirate-0a1b2c3d
    """
    deployment = Deployment.find(stage)
    run_id = find_run(deployment, run)
    execution_arn = redeploy(deployment, run_id, ttl_hours)
    console = Console(stderr=as_json)
    with console.status("Waiting for the workflow to take it up"):
        _until(lambda: has_taken_over(deployment, run_id, execution_arn))
    if as_json:
        print_json({"run_id": run_id, "execution_arn": execution_arn})
    else:
        said = f"Deploying the model of {run_id}. Follow it with: {commands.watch(run_id, stage)}"
        console.print(plain(said), soft_wrap=True)


def rollback(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name, with or without the stage's prefix.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Put an endpoint back on the model it served before, without a gap.

    \b
    Examples:
      finetune rollback faq
    """
    deployment = Deployment.find(stage)
    name, _ = find_endpoint(deployment, endpoint)
    config = roll_back(deployment, name)
    console = Console(stderr=as_json)
    with console.status(f"{name} goes back to {config}; the present model answers until then"):
        _until(lambda: is_rolled_back(deployment, name, config))
    if as_json:
        print_json({"endpoint": name, "configuration": config})
    else:
        console.print(plain(f"{name} serves {config} again"))


def clean_up(
    run: Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every run of the stage.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Stop a run and delete its endpoint, configuration and model entry; its files in S3 stay.

    \b
    Examples:
      finetune clean-up pirate
      finetune clean-up --all --yes --stage dev

    Exit code: 1 where the answer was no.
    """
    if bool(run) == every:
        raise typer.BadParameter("Name one run, or say --all.")
    deployment = Deployment.find(stage)
    console = Console(stderr=as_json)
    with console.status("Looking for what is left"):
        served = [each.run_id for each in list_endpoints(deployment)] if every else []
        run_ids = sorted({*list_run_ids(deployment), *served}) if every else [find_run(deployment, run)]
        remains = [line for run_id in run_ids for line in remaining_resources(deployment, run_id)]
    for line in remains:
        console.print(plain(f"• {line}"))
    if remains and not yes and not Confirm.ask("Stop and delete these?", console=console, default=False):
        raise typer.Exit(1)
    done = [line for run_id in run_ids for line in remove_resources(deployment, run_id)]
    if as_json:
        print_json({"runs": run_ids, "done": done})
    else:
        console.print(plain("\n".join(done) or "Nothing was left to stop or delete."))


def _until(reached: Callable[[], bool]) -> None:
    """Looks every second. Ctrl-C only ends the waiting."""
    while not reached():
        time.sleep(1)
