"""`finetune ask`, `endpoints`, `extend`, `deploy`, `rollback` and `clean-up`: what runs have deployed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.prompt import Confirm

from cli.commands.options import AsJson, EndpointName, RunName, Stage


def ask(
    endpoint: EndpointName,
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    stage: Stage = "dev",
    system: Annotated[str, typer.Option(help="The system message of a chat.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Send the text unchanged.")] = False,
    instruction: Annotated[bool, typer.Option("--instruction", help="Send it as an instruction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint a question, in the format its run was trained on unless an option says otherwise.

    \b
    Examples:
      finetune ask finetune-dev-pirate-0a1b2c3d "Why is the sea salty?"
      finetune ask pirate-0a1b2c3d "Why is the sea salty?" --system "Answer in Latin."
    """
    from cli.display.text import print_json, stream_printer
    from cli.stage.deployment import Deployment
    from cli.stage.endpoints import find_endpoint
    from finetuning.aws.sagemaker_runtime import asker, stream_answer
    from finetuning.errors import Code, FineTuningError
    from finetuning.evaluation.questions import PARAMETERS, as_inputs, stop_tokens
    from finetuning.jumpstart.catalogue import DEFAULT_FAMILY

    full_name, plan = find_endpoint(Deployment.find(stage), endpoint)
    task = str(plan.task) if plan and plan.task else "chat"
    task = "domain_adaptation" if raw else "instruction" if instruction else "chat" if system else task
    family = plan.family if plan else DEFAULT_FAMILY
    inputs = as_inputs(prompt, task, plan.template if plan else None, system, family)
    stops = stop_tokens(task, family)
    if as_json:
        with Console(stderr=True).status("Waiting for the answer"):
            reply = asker(full_name, stops)(inputs)
    else:
        console = Console()
        reply = stream_answer(full_name, inputs, stream_printer(console), stops)
        console.print()
    if reply.error is not None:
        raise FineTuningError(
            Code.ENDPOINT_FAILED,
            f"The endpoint {full_name} did not answer: {reply.error}",
            "Check its status with `finetune endpoints`, and its log in CloudWatch.",
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


def endpoints(stage: Stage = "dev", as_json: AsJson = False) -> None:
    """List the endpoints that runs created: age, invocations, when they expire and why, and what they cost.

    \b
    Examples:
      finetune endpoints
      finetune endpoints --json | jq '[.[].usd_per_hour] | add'
    """
    from cli.display.endpoints import endpoints_table
    from cli.display.text import print_json
    from cli.stage.deployment import Deployment
    from cli.stage.endpoints import list_endpoints

    found = list(list_endpoints(Deployment.find(stage)))
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif found:
        console = Console()
        console.print(endpoints_table(found, datetime.now(UTC), console.width))
    else:
        Console().print("No endpoints: nothing costs money by the hour.")


def extend(
    endpoint: EndpointName,
    hours: Annotated[float, typer.Option(min=0.1, help="How many hours from now to keep it, at least.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Keep an endpoint for at least N more hours, even without requests.

    \b
    Example:
      finetune extend faq --hours 4
    """
    from cli.display.text import plain, print_json
    from cli.stage.deployment import Deployment
    from cli.stage.endpoints import extend_endpoint, find_endpoint

    deployment = Deployment.find(stage)
    name, _ = find_endpoint(deployment, endpoint)
    expiry = extend_endpoint(deployment, name, hours)
    if as_json:
        print_json({"endpoint": name, "expires_at": expiry.at.isoformat() if expiry else None})
    elif expiry:
        Console().print(plain(f"{name} is kept until {expiry.at:%Y-%m-%d %H:%M} UTC at least"))
    else:
        Console().print(plain(f"{name} never expires"))


def deploy(
    run: RunName,
    ttl_hours: Annotated[
        float | None, typer.Option(min=0.1, help="Hours until the endpoint expires. Default: the run's own setting.")
    ] = None,
    instance_type: Annotated[
        str | None, typer.Option(help="Instance type of the endpoint. Default: the one used before.")
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Deploy the model of an earlier run again, without training.

    \b
    Examples:
      finetune deploy pirate --ttl-hours 2
      finetune deploy pirate --instance-type ml.g5.12xlarge
      finetune deploy pirate-0a1b2c3d && finetune watch pirate-0a1b2c3d
    """
    from cli.display.text import plain, print_json
    from cli.stage.deployment import Deployment
    from cli.stage.runs import find_run, has_taken_over, redeploy
    from finetuning.report import commands

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    execution_arn = redeploy(deployment, found, ttl_hours, instance_type)
    console = Console(stderr=as_json)
    with console.status("Waiting for the workflow to start"):
        _until(lambda: has_taken_over(deployment, found, execution_arn))
    if as_json:
        print_json({"run_id": found.run_id, "execution_arn": execution_arn})
    else:
        follow = commands.watch(found.run_id, stage)
        console.print(plain(f"Deploying the model of {found.run_id}. Follow it with: {follow}"), soft_wrap=True)


def rollback(endpoint: EndpointName, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Switch an endpoint back to the model it served before, without downtime.

    \b
    Example:
      finetune rollback faq
    """
    from cli.display.text import plain, print_json
    from cli.stage.deployment import Deployment
    from cli.stage.endpoints import find_endpoint, is_rolled_back, roll_back

    deployment = Deployment.find(stage)
    name, _ = find_endpoint(deployment, endpoint)
    config = roll_back(deployment, name)
    console = Console(stderr=as_json)
    with console.status(f"Switching {name} back to {config}; the current model answers until then"):
        _until(lambda: is_rolled_back(deployment, name, config))
    if as_json:
        print_json({"endpoint": name, "configuration": config})
    else:
        console.print(plain(f"{name} serves {config} again"))


def clean_up(
    run: RunName = "",
    every: Annotated[bool, typer.Option("--all", help="Every run of the stage.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Stop a run and delete its endpoint, configuration and SageMaker model; its files in S3 stay.

    \b
    Examples:
      finetune clean-up pirate
      finetune clean-up --all --yes --stage dev

    Exit code: 1 if you answered no.
    """
    from cli.display.text import plain, print_json
    from cli.stage.clean_up import remaining_resources, remove_resources
    from cli.stage.deployment import Deployment
    from cli.stage.endpoints import list_endpoints
    from cli.stage.runs import find_run, list_run_ids

    if bool(run) == every:
        raise typer.BadParameter("Give one run, or --all.")
    deployment = Deployment.find(stage)
    console = Console(stderr=as_json)
    with console.status("Looking for what is left"):
        served = [each.run_id for each in list_endpoints(deployment)] if every else []
        run_ids = sorted({*list_run_ids(deployment), *served}) if every else [find_run(deployment, run).run_id]
        found = [deployment.run(run_id) for run_id in run_ids]
        remains = [line for each in found for line in remaining_resources(each)]
    for line in remains:
        console.print(plain(f"• {line}"))
    if remains and not yes and not Confirm.ask("Stop and delete these?", console=console, default=False):
        raise typer.Exit(1)
    done = [line for each in found for line in remove_resources(each)]
    if as_json:
        print_json({"runs": run_ids, "done": done})
    else:
        console.print(plain("\n".join(done) or "There was nothing to stop or delete."))


def _until(reached: Callable[[], bool]) -> None:
    """Checks every second. Ctrl-C only ends the waiting."""
    while not reached():
        time.sleep(1)
