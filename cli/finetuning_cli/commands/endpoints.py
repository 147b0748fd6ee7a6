"""`finetune ask`, `token`, `endpoints`, `extend`, `deploy`, `rollback` and `clean-up`: what runs have deployed."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.prompt import Confirm

from finetuning_cli.commands.options import AsJson, EndpointName, RunName, Stage, Target, progress_console

if TYPE_CHECKING:
    from finetuning_cli.stage.conversation import Conversation
    from finetuning_cli.stage.deployment import Deployment


def ask(
    endpoint: Annotated[str, typer.Argument(help="An endpoint's name, or that of a run with an endpoint.")],
    prompt: Annotated[str, typer.Argument(help="What to ask. Default: standard input.")] = "",
    stage: Stage = "dev",
    system: Annotated[str, typer.Option(help="The system message of a chat.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Maximum length of the answer, in tokens.")] = 256,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Start a conversation: a chat model gets the earlier turns.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Send the text unchanged.")] = False,
    instruction: Annotated[bool, typer.Option("--instruction", help="Send it as an instruction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint a question, in the format that its model was trained on.

    \b
    Examples:
      finetune ask pirate "Why is the sea salty?"
      finetune ask pirate "Why is the sea salty?" --system "Answer in Latin." --max-tokens 50
      finetune ask pirate < question.txt
      finetune ask pirate -i
    """
    from finetuning_cli.display.text import print_json, stream_printer
    from finetuning_cli.stage.conversation import Conversation
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import find_served

    if interactive and (prompt or as_json):
        raise typer.BadParameter("--interactive cannot be used with a prompt or --json.")
    full_name, plan, model = find_served(Deployment.find(stage), endpoint)
    task = "domain_adaptation" if raw else "instruction" if instruction else ""
    conversation = Conversation(
        full_name, plan, task, system, max_tokens, model=model.arn if model else "", on_wait=_print_wait
    )
    if interactive:
        _converse(conversation, max_tokens)
        return
    prompt = prompt or sys.stdin.read().strip()
    if not prompt:
        raise typer.BadParameter("There is no prompt, and nothing on standard input.", param_hint="PROMPT")
    if as_json:
        inputs = conversation.inputs(prompt)
        with progress_console(as_json).status("Waiting for the answer"):
            reply = conversation.ask(prompt)
        print_json(
            {
                "endpoint": full_name,
                "inputs": inputs,
                "answer": reply.text,
                "finished": reply.finished,
                "latency_ms": reply.latency_ms,
            }
        )
        return
    console = Console()
    reply = conversation.ask(prompt, stream_printer(console))
    console.print()
    _print_cut_off(reply.finished, max_tokens)


def _converse(conversation: "Conversation", max_tokens: int) -> None:
    """Until end of file (Ctrl-D) or Ctrl-C."""
    from finetuning_cli.display.text import stream_printer

    console, hints = Console(), Console(stderr=True)
    hints.print("Ctrl-D ends the conversation.", style="dim")
    while True:
        try:
            prompt = hints.input("[bold]>[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            hints.print()
            return
        if prompt:
            reply = conversation.ask(prompt, stream_printer(console))
            console.print()
            _print_cut_off(reply.finished, max_tokens)


def _print_wait(line: str) -> None:
    Console(stderr=True).print(line, style="dim", highlight=False)


def _print_cut_off(finished: bool | None, max_tokens: int) -> None:
    if finished is False:
        more = f"(cut off at {max_tokens} tokens; --max-tokens allows more)"
        Console(stderr=True).print(more, style="dim", highlight=False)


def token(
    endpoint: Annotated[str, typer.Argument(help="An endpoint's name, or that of a run with an endpoint.")],
    hours: Annotated[float, typer.Option(min=0.01, max=12, help="How long the token is valid.")] = 1,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Print a bearer token with which OpenAI's clients call an endpoint.

    Treat it like a password: it allows what your own credentials allow, until it expires or they do.

    \b
    Examples:
      OPENAI_API_KEY=$(finetune token faq) python my_program.py
      finetune token faq --hours 12 --json | jq -r .base_url
    """
    from finetuning.aws.clients import client
    from finetuning.aws.sagemaker_runtime import openai_base_url
    from finetuning.errors import Code, FineTuningError
    from finetuning.report.commands import speaks_openai
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.bearer_token import bearer_token
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import find_served

    full_name, plan, model = find_served(Deployment.find(stage), endpoint)
    if model:
        raise FineTuningError(
            Code.ENDPOINT_NOT_FOUND,
            f"{full_name} is a model imported into Bedrock, which has no address for OpenAI's clients.",
            f"Call {model.arn} with LiteLLM or boto3: docs/calling.md shows how.",
        )
    region: str = client("sagemaker-runtime").meta.region_name
    lifetime = timedelta(hours=hours)
    expires_at, made = datetime.now(UTC) + lifetime, bearer_token(region, lifetime)
    if plan and not speaks_openai(plan):
        warning = f"{full_name} was trained for {plan.task}, not for chat."
        Console(stderr=True).print(plain(warning), style="yellow", soft_wrap=True)
    if as_json:
        print_json(
            {
                "endpoint": full_name,
                "base_url": openai_base_url(full_name),
                "token": made,
                "expires_at": expires_at.isoformat(timespec="seconds"),
            }
        )
        return
    progress_console(as_json=True).print(plain(f"base_url: {openai_base_url(full_name)}"), style="dim", soft_wrap=True)
    print(made)  # without rich, which would break the line


def endpoints(stage: Stage = "dev", as_json: AsJson = False) -> None:
    """List the endpoints that runs created: age, invocations, when they expire and why, and what they cost.

    \b
    Examples:
      finetune endpoints
      finetune endpoints --json | jq '[.[].usd_per_hour] | add'
    """
    from finetuning_cli.display.endpoints import endpoints_table
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import list_endpoints

    found = list(list_endpoints(Deployment.find(stage)))
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif found:
        console = Console()
        console.print(endpoints_table(found, datetime.now(UTC), console.width))
        for each in found:
            if each.openai_base_url:
                console.print(plain(f"For OpenAI's clients: {each.openai_base_url}"), soft_wrap=True, highlight=False)
    else:
        Console().print("No endpoints: nothing costs money by the hour.")


def extend(
    endpoint: EndpointName,
    hours: Annotated[float, typer.Option(min=0.1, help="Minimum number of hours from now to keep it.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Keep an endpoint for at least N more hours, even without requests.

    \b
    Example:
      finetune extend faq --hours 4
    """
    from finetuning.settings import LONGEST_TTL_HOURS
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import extend_endpoint, find_served
    from finetuning_cli.stage.imported import extend_imported

    if hours > LONGEST_TTL_HOURS:
        raise typer.BadParameter(f"An endpoint is kept for at most {LONGEST_TTL_HOURS:,} hours.", param_hint="--hours")
    deployment = Deployment.find(stage)
    name, _, model = find_served(deployment, endpoint)
    expiry = extend_imported(deployment, model, hours) if model else extend_endpoint(deployment, name, hours)
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
    target: Annotated[
        Target | None, typer.Option(help="Where to serve the model. Default: where it was served before.")
    ] = None,
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Deploy the model of an earlier run again, without training.

    \b
    Examples:
      finetune deploy pirate --ttl-hours 2
      finetune deploy pirate --instance-type ml.g5.12xlarge
      finetune deploy pirate --target bedrock
      finetune deploy pirate-0a1b2c3d && finetune watch pirate-0a1b2c3d
    """
    from finetuning.report import commands
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run, has_taken_over, redeploy

    deployment = Deployment.find(stage)
    found = find_run(deployment, run)
    execution_arn = redeploy(deployment, found, ttl_hours, instance_type, target and target.value)
    console = Console(stderr=as_json)
    with progress_console(as_json).status("Waiting for the workflow to start"):
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
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import find_served, is_rolled_back, roll_back
    from finetuning_cli.stage.imported import roll_back_name

    deployment, console = Deployment.find(stage), Console(stderr=as_json)
    name, _, model = find_served(deployment, endpoint)
    if model:
        serving = roll_back_name(deployment, name).serving
        if as_json:
            print_json({"endpoint": name, "model": serving and serving.name})
        else:
            console.print(plain(f"{name} answers with {serving.name if serving else 'nothing'} again"))
            left = f"{model.name} is deleted at the next sweep; `finetune deploy {model.run_id}` imports it again"
            console.print(plain(left), soft_wrap=True)
        return
    config = roll_back(deployment, name)
    with progress_console(as_json).status(f"Switching {name} back to {config}; the current model answers until then"):
        try:
            _until(lambda: is_rolled_back(deployment, name, config))
        except KeyboardInterrupt:
            _print_left_undone(deployment, name, config)
            raise typer.Exit(130) from None
    if as_json:
        print_json({"endpoint": name, "configuration": config})
    else:
        console.print(plain(f"{name} serves {config} again"))


def _print_left_undone(deployment: "Deployment", endpoint: str, config: str) -> None:
    """SageMaker goes on without the command; the autoscaling, which an update ends, does not come back by itself."""
    from finetuning.report import commands
    from finetuning_cli.display.text import plain
    from finetuning_cli.stage.endpoints import find_endpoint

    said = f"Stopped waiting; {endpoint} is still being switched to {config}."
    _, plan = find_endpoint(deployment, endpoint)
    if plan and plan.endpoint.autoscaling:
        again = commands.deploy(plan.run_id, deployment.stage)
        said += f" Its autoscaling is off. To set it up again, deploy the run when the endpoint is in service: {again}"
    Console(stderr=True).print(plain(said), soft_wrap=True)


def clean_up(
    run: RunName = "",
    every: Annotated[bool, typer.Option("--all", help="All runs of the stage.")] = False,
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
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.stage.clean_up import remaining_resources, remove_resources
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.endpoints import list_endpoints
    from finetuning_cli.stage.runs import find_run, list_run_ids

    if bool(run) == every:
        raise typer.BadParameter("Give one run, or --all.")
    deployment = Deployment.find(stage)
    console = Console(stderr=as_json)
    with progress_console(as_json).status("Looking for what is left"):
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
    from finetuning_cli.stage.runs import Connection

    connection = Connection()
    while not connection.try_to(reached, otherwise=False):
        time.sleep(1)
