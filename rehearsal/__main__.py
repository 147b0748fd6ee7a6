"""`python -m rehearsal`: the whole product on this machine.

`run` does everything and is what `make rehearse` calls; `up` and `deploy` are its first steps alone; `down` stops what
`run --keep` or `up` left running.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.rule import Rule

from finetuning.errors import FineTuningError
from finetuning.report import commands
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.uploads import Upload
from finetuning_cli.commands.options import Target
from finetuning_cli.display.charts import loss_curve
from finetuning_cli.display.following import follow, show_result
from finetuning_cli.display.text import plain
from finetuning_cli.stage.deployment import Deployment
from rehearsal import cdk, jumpstart_cache, running
from rehearsal.cdk import DeploymentFailed
from rehearsal.emulator.faults import Fault
from rehearsal.example_settings import HYPERPARAMETERS, rehearsed_run_json
from rehearsal.running import HOME, PROJECT, Emulator, EmulatorFailed
from rehearsal.scenarios import SCENARIOS, Scenario, describe_cost, read_scenario

STAGE = "dev"
STATE = HOME / "state"
RUNNING = STATE / "emulator.json"
REPORTS = HOME / "reports"
KEPT_PORT = 4566
WAIT_SCALE = 0.2
"""Factor on the state machine's waits: what it waits for takes seconds here, and minutes on AWS."""
MAX_NEW_TOKENS = 96
"""Where the stand-in server ends every answer. An untuned SmolLM2 fills the 256 tokens that the product allows."""
INTERRUPTED = 130
SETTLING_SECONDS = 30
IMPORTS = ["bedrock_import=true"]
"""What a stage that imports models into Bedrock is deployed with."""
ENDPOINT = "rehearsal"
"""Name of the endpoint that two runs share."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


class StandIn(StrEnum):
    """The models that are trained and served in the place of Llama (`rehearsal/trainer/weights.py`)."""

    SMOLLM2 = "smollm2"
    TINY = "tiny"


Model = Annotated[
    StandIn, typer.Option(help="The stand-in for Llama: smollm2 (pre-trained, real answers) or tiny (random, fast).")
]


FAULTS = "Faults, for --fault:\n\n" + "\n\n".join(f"{fault}: {SCENARIOS[fault].story}" for fault in SCENARIOS)


def _scenario(text: str) -> Scenario:
    try:
        return read_scenario(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command(epilog=FAULTS)
def run(
    example: Annotated[str, typer.Option(help="chat, instruction or domain_adaptation.")] = "chat",
    model: Model = StandIn.SMOLLM2,
    file: Annotated[Path | None, typer.Option(exists=True, help="Your own data file, uploaded into inbox/.")] = None,
    target: Annotated[Target, typer.Option(help="Where the example's model is served.")] = Target.SAGEMAKER,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the emulated AWS and the endpoint running.")] = False,
    fault: Annotated[
        Scenario | None,
        typer.Option(
            parser=_scenario,
            metavar="FAULT[:PART[:TIMES]]",
            help="The fault to inject, from the list below. PART: part of the name of what it affects.",
        ),
    ] = None,
) -> None:
    """Deploy the stacks to an emulated AWS, upload, follow the run, show the answers.

    Exit code 0: the run succeeded (with a fault: it ended as expected for that fault, and nothing unexpected costs
    money), and no role was denied a call.
    """
    if fault and file:
        if fault.of_an_update:
            raise typer.BadParameter(
                f"The fault {fault.fault} needs two runs with one endpoint: use --example instead of --file."
            )
        fault = fault.of_inbox()
    if fault and fault.of_an_import:
        if file:
            raise typer.BadParameter(f"The fault {fault.fault} needs a run.json: use --example instead of --file.")
        target = Target.BEDROCK
    if example not in HYPERPARAMETERS:
        raise typer.BadParameter(f"must be one of {', '.join(HYPERPARAMETERS)}.", param_hint="--example")
    with _emulated_aws(model, keep) as emulator:
        # A single file has no run.json that could accept the licence, so the stage accepts it, as its operator could.
        _deploy(emulator, [*(["accept_eula=true"] if file else []), *(IMPORTS if target is Target.BEDROCK else [])])
        deployment = Deployment.find(STAGE)
        served = _serve_first(emulator, deployment, example) if fault and fault.of_an_update else set()
        if fault:
            _title(f"Injecting a fault: {fault.story}")
            emulator.inject(fault.fault, fault.part, times=fault.times, message=fault.message)
        _title("Uploading with a plain boto3 client, which is all that starts the run")
        name = ENDPOINT if served else None
        upload = (
            _upload_file(emulator, deployment, file)
            if file
            else _upload_example(emulator, deployment, example, name, target)
        )
        if fault and fault.fault is Fault.EVENT_LOST:
            _sweep_runs(emulator, deployment)
        _title(f"Following the run {upload.run_id}")
        status = follow(deployment.run(upload.run_id), console)
        _show(emulator, deployment, status)
        denied = _print_denied_calls(emulator)
        wrong = _print_outcome(emulator, fault, status, served) if fault else status.state is not RunState.SUCCEEDED
        if keep:
            _print_how_to_connect(emulator, status, deployment.run(status.run_id).find_plan())
    if denied or wrong:
        raise typer.Exit(1)


@app.command()
def up(model: Model = StandIn.SMOLLM2) -> None:
    """Start an emulated AWS and keep it running."""
    with _emulated_aws(model, keep=True) as emulator:
        _print_how_to_connect(emulator)


@app.command()
def deploy(
    context: Annotated[list[str] | None, typer.Option("--context", "-c", help="As for cdk: key=value.")] = None,
) -> None:
    """Deploy the stacks to the running emulated AWS."""
    emulator = _left_running()
    if emulator is None:
        console.print("No emulated AWS is running. Start one with: python -m rehearsal up")
        raise typer.Exit(1)
    _deploy(emulator, context or [])


@app.command()
def down() -> None:
    """Stop the emulated AWS that was left running."""
    emulator = _left_running()
    if emulator:
        emulator.stop()
    RUNNING.unlink(missing_ok=True)
    console.print("Stopped the emulated AWS." if emulator else "No emulated AWS was running.")


@contextmanager
def _emulated_aws(model: str, keep: bool) -> Iterator[Emulator]:
    """A new emulated AWS, stopped at the end unless it is to be kept and there was no error."""
    if left := _left_running():
        console.print(f"Stopping the emulated AWS that was left running (process {left.pid}).")
        left.stop()
    _title("Starting an emulated AWS on 127.0.0.1")
    with console.status(f"Loading {model}"):
        base_model = running.base_model(model)
    with console.status("Starting"):
        port = KEPT_PORT if keep else 0
        emulator = running.start(
            _fresh_state(), base_model, port=port, wait_scale=WAIT_SCALE, max_new_tokens=MAX_NEW_TOKENS, keep=keep
        )
    os.environ.update(emulator.environment())  # the product's own code runs in this process too
    interrupted = False
    try:
        console.print(f"Running at {emulator.url}; {model} stands in for Llama.")
        jumpstart_cache.fill(emulator)
        yield emulator
    except KeyboardInterrupt:
        keep, interrupted = False, True
        console.print("\nStopping the emulated AWS and everything it runs.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        keep = False
        raise
    finally:
        if keep:
            RUNNING.write_text(json.dumps({"pid": emulator.pid, "port": emulator.port, "state": str(emulator.state)}))
        else:
            emulator.stop()
            if interrupted:
                console.print("Stopped.")


def _left_running() -> Emulator | None:
    if not RUNNING.exists():
        return None
    left = json.loads(RUNNING.read_text())
    emulator = Emulator(left["pid"], left["port"], Path(left["state"]))
    return emulator if emulator.answers() else None


def _fresh_state() -> Path:
    """A folder for this process; the folders of processes that have ended are deleted, with their logs."""
    for folder in STATE.glob("[0-9]*"):
        if not running.is_running(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    return STATE / str(os.getpid())


def _deploy(emulator: Emulator, context: list[str] | tuple[str, ...]) -> None:
    words = "".join(f" -c {setting}" for setting in context)
    _title(f"npx cdk bootstrap, npx cdk deploy --all{words}")
    cdk.deploy(emulator, cdk.synthesised(context))


def _upload_example(
    emulator: Emulator,
    deployment: Deployment,
    example: str,
    endpoint: str | None = None,
    target: Target = Target.SAGEMAKER,
) -> Upload:
    """Uploads the example's data, then its run.json, which starts the run. `endpoint` names the run's endpoint."""
    folder = PROJECT / "examples" / example
    for path in sorted(path for path in folder.iterdir() if path.name != "run.json"):
        _put(emulator, deployment, path.read_bytes(), f"runs/{example}/{path.name}")
    return _put(emulator, deployment, rehearsed_run_json(folder, endpoint, target.value), f"runs/{example}/run.json")


def _upload_file(emulator: Emulator, deployment: Deployment, file: Path) -> Upload:
    return _put(emulator, deployment, file.read_bytes(), f"inbox/{file.name}")


def _serve_first(emulator: Emulator, deployment: Deployment, example: str) -> set[str]:
    """The name of the endpoint of a first, successful run: only an endpoint in service can be updated."""
    _title("First a successful run, whose endpoint the next run updates")
    first = _upload_example(emulator, deployment, example, ENDPOINT)
    return {follow(deployment.run(first.run_id), console).endpoint}


def _sweep_runs(emulator: Emulator, deployment: Deployment) -> None:
    """Calls the deployed SweepRuns as its schedule does, but without the ten minutes of grace for late events."""
    _title("The event is lost and no run starts: sweeping, as the schedule does every 15 minutes")
    pages = emulator.client("lambda").get_paginator("list_functions").paginate()
    (function,) = [f["FunctionName"] for page in pages for f in page["Functions"] if ".sweep_runs." in f["Handler"]]
    given = {"state_machine_arn": deployment.state_machine_arn, "older_than_minutes": 0}
    answer = emulator.client("lambda").invoke(FunctionName=function, Payload=json.dumps(given))
    console.print(plain(answer["Payload"].read().decode()))


def _put(emulator: Emulator, deployment: Deployment, body: bytes, key: str) -> Upload:
    answer = emulator.client("s3").put_object(Bucket=deployment.upload_bucket, Key=key, Body=body)
    console.print(f"s3://{deployment.upload_bucket}/{key}", highlight=False)
    return Upload(deployment.upload_bucket, key, answer["VersionId"])


def _show(emulator: Emulator, deployment: Deployment, status: RunStatus) -> None:
    _title(f"Run {status.state}")
    show_result(deployment.run(status.run_id), status, STAGE, console)
    if status.metrics and console.is_terminal:  # otherwise show_result has printed it
        console.print(loss_curve(status))
    layout, folder = RunLayout(status.run_id), REPORTS / status.run_id
    folder.mkdir(parents=True, exist_ok=True)
    s3 = emulator.client("s3")
    present = s3.list_objects_v2(Bucket=deployment.artifacts_bucket, Prefix=layout.root).get("Contents", [])
    for key in {item["Key"] for item in present} & {
        layout.report_page,
        layout.evaluation,
        layout.dataset_report,
        layout.status,
    }:
        s3.download_file(deployment.artifacts_bucket, key, str(folder / Path(key).name))
    console.print(plain(f"Local copy of the report:  {folder / Path(layout.report_page).name}"), soft_wrap=True)


def _print_how_to_connect(emulator: Emulator, status: RunStatus | None = None, plan: RunPlan | None = None) -> None:
    _title("Still running. Use it from another shell")
    ours = {name: value for name, value in emulator.environment().items() if name.startswith("AWS_")}
    lines = [f"export {name}={value}" for name, value in sorted(ours.items())]
    if status and plan and status.endpoint:
        lines += ["", f".venv/bin/{commands.ask(status.endpoint, STAGE)}"]
        lines += ["", "# or from Python:", commands.python_call(status.endpoint, plan)]
    console.print(plain("\n".join(lines)), soft_wrap=True)
    console.print("\nStop it with: make down")


def _print_denied_calls(emulator: Emulator) -> bool:
    """True if a role was denied a call. A step may continue without it, but on AWS it would lack a permission."""
    denied = emulator.denials()
    if denied:
        _title("Missing permissions: these calls were denied")
    for call in denied:
        role = call["caller"].split("/")[1] if "/" in call["caller"] else call["caller"]
        console.print(plain(f"{role}: {call['action']} on {call['resource'] or '*'}", "red"), soft_wrap=True)
    return bool(denied)


def _print_outcome(emulator: Emulator, scenario: Scenario, status: RunStatus, served: set[str]) -> bool:
    """Prints what happened and what still costs money; returns True if anything is not as expected."""
    _title("Outcome")
    happened = sum(each["fault"] == scenario.fault for each in emulator.happened())
    wanted = served | ({status.endpoint} if status.state is RunState.SUCCEEDED else set())
    costing = _once_settled(emulator, wanted)
    code = f" with {status.error['code']}" if status.error else ""
    console.print(
        plain(f"{scenario.fault} happened {'once' if happened == 1 else f'{happened} times'}. {scenario.story}")
    )
    console.print(plain(f"The run {status.run_id} ended: {status.state}{code}."))
    for thing in costing:
        note = " (expected)" if thing["name"] in wanted else ""
        console.print(plain(f"Still costs money: {describe_cost(thing)}{note}."), soft_wrap=True)
    if not costing:
        console.print("Nothing costs money now.")
    wrong = scenario.judge(status, happened, costing, wanted)
    for line in wrong:
        console.print(plain(f"Unexpected: {line}.", "red"), soft_wrap=True)
    return bool(wrong)


def _once_settled(emulator: Emulator, wanted: set[str]) -> list[dict[str, Any]]:
    """What costs money after stopped jobs and endpoints have had time to end."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        costing = emulator.costing()
        if {thing["name"] for thing in costing} <= wanted or time.monotonic() > deadline:
            return costing
        time.sleep(1)


def _title(text: str) -> None:
    console.print(Rule(plain(text), align="left"))


def main() -> None:
    """Runs the command; an expected error is printed in a few lines."""
    try:
        app()
    except (EmulatorFailed, DeploymentFailed) as error:
        console.print(plain(str(error), "red"))
    except FineTuningError as error:
        console.print(plain(f"{error.code}: {error.message}\n{error.fix}", "red"))
    sys.exit(1)


if __name__ == "__main__":
    main()
