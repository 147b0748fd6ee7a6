"""`python -m rehearsal`: the whole product on this machine.

`run` goes the whole way and is what `make rehearse` calls; `up` and `deploy` are its first steps alone, `down` ends
what `run --keep` or `up` left running.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule

from cli.deployment import Deployment
from cli.display import loss_curve, plain
from cli.runs import follow, show_result
from finetuning.errors import FineTuningError
from finetuning.runs.identity import Upload
from finetuning.runs.layout import RunLayout
from finetuning.runs.status import RunState, RunStatus
from rehearsal import cdk, jumpstart_cache, running
from rehearsal.cdk import DeploymentFailed
from rehearsal.running import HOME, PROJECT, Emulator, EmulatorFailed

STAGE = "dev"
STATE = HOME / "state"
RUNNING = STATE / "emulator.json"
REPORTS = HOME / "reports"
KEPT_PORT = 4566
INTERRUPTED = 130

TALK = """\
import boto3, json
body = {{"inputs": "Hello", "parameters": {{"max_new_tokens": 64, "do_sample": True, "temperature": 0.2}}}}
runtime = boto3.client("sagemaker-runtime")
answer = runtime.invoke_endpoint(EndpointName="{endpoint}", ContentType="application/json", Body=json.dumps(body))
print(json.load(answer["Body"])["generated_text"])
"""
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
Model = Annotated[
    str, typer.Option(help="What stands in for Llama: smollm2 (pre-trained, speaks) or tiny (random, fast).")
]


@app.command()
def run(
    example: Annotated[str, typer.Option(help="chat, instruction or domain_adaptation.")] = "chat",
    model: Model = "smollm2",
    file: Annotated[Path | None, typer.Option(exists=True, help="A data file of your own, put into inbox/.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the emulated AWS and the endpoint up.")] = False,
) -> None:
    """Deploy the stacks to an emulated AWS, upload, follow the run, show the answers."""
    with _emulated_aws(model, keep) as emulator:
        # A file comes without a run.json to accept the licence in: the stage accepts it, as its operator could.
        _deploy(emulator, ("accept_eula=true",) if file else ())
        deployment = Deployment.find(STAGE)
        _title("Uploading, with a plain boto3 client: nothing else starts the run")
        upload = _upload_file(emulator, deployment, file) if file else _upload_example(emulator, deployment, example)
        _title(f"Following the run {upload.run_id}")
        status = follow(deployment, upload.run_id, console)
        _show(emulator, deployment, status)
        refused = _say_what_was_refused(emulator)
        if keep:
            _say_how_to_talk(emulator, status)
    if refused or status.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


@app.command()
def up(model: Model = "smollm2") -> None:
    """Start an emulated AWS and leave it up."""
    with _emulated_aws(model, keep=True) as emulator:
        _say_how_to_talk(emulator)


@app.command()
def deploy(
    context: Annotated[list[str] | None, typer.Option("--context", "-c", help="As for cdk: key=value.")] = None,
) -> None:
    """Deploy the stacks to the emulated AWS that is up."""
    emulator = _left_running()
    if emulator is None:
        console.print("No emulated AWS is up. Start one with: python -m rehearsal up")
        raise typer.Exit(1)
    _deploy(emulator, context or [])


@app.command()
def down() -> None:
    """End the emulated AWS that was left up."""
    emulator = _left_running()
    if emulator:
        emulator.stop()
    RUNNING.unlink(missing_ok=True)
    console.print("The emulated AWS is down." if emulator else "No emulated AWS was up.")


@contextmanager
def _emulated_aws(model: str, keep: bool) -> Iterator[Emulator]:
    """A fresh emulated AWS, ended on the way out unless it is to be kept and all went well."""
    if left := _left_running():
        console.print(f"Ending the emulated AWS that was left up (process {left.pid}).")
        left.stop()
    _title("Starting an emulated AWS on 127.0.0.1")
    with console.status(f"Loading {model}"):
        base_model = running.base_model(model)
    with console.status("Starting"):
        emulator = running.start(_fresh_state(), base_model, port=KEPT_PORT if keep else 0, keep=keep)
    os.environ.update(emulator.environment())  # the product's own code runs here, too
    try:
        console.print(f"It answers at {emulator.url}; {model} stands in for Llama.")
        jumpstart_cache.fill(emulator)
        yield emulator
    except KeyboardInterrupt:
        keep = False
        console.print("\nInterrupted: ending the emulated AWS, and all it runs.")
        raise typer.Exit(INTERRUPTED) from None
    except BaseException:
        keep = False
        raise
    finally:
        if keep:
            RUNNING.write_text(json.dumps({"pid": emulator.pid, "port": emulator.port, "state": str(emulator.state)}))
        else:
            emulator.stop()


def _left_running() -> Emulator | None:
    if not RUNNING.exists():
        return None
    left = json.loads(RUNNING.read_text())
    emulator = Emulator(left["pid"], left["port"], Path(left["state"]))
    return emulator if emulator.answers() else None


def _fresh_state() -> Path:
    """A folder of this process's own; those of processes that have ended go, and with them their logs."""
    for folder in STATE.glob("[0-9]*"):
        if not running.is_running(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)
    return STATE / str(os.getpid())


def _deploy(emulator: Emulator, context: list[str] | tuple[str, ...]) -> None:
    words = "".join(f" -c {setting}" for setting in context)
    _title(f"npx cdk bootstrap, npx cdk deploy --all{words}")
    cdk.deploy(emulator, context)


def _upload_example(emulator: Emulator, deployment: Deployment, example: str) -> Upload:
    """The example's data, and then its run.json, whose arrival starts the run."""
    folder = PROJECT / "examples" / example
    data = sorted(path for path in folder.iterdir() if path.name != "run.json")
    uploads = [_put(emulator, deployment, path, f"runs/{example}/{path.name}") for path in (*data, folder / "run.json")]
    return uploads[-1]


def _upload_file(emulator: Emulator, deployment: Deployment, file: Path) -> Upload:
    return _put(emulator, deployment, file, f"inbox/{file.name}")


def _put(emulator: Emulator, deployment: Deployment, path: Path, key: str) -> Upload:
    answer = emulator.client("s3").put_object(Bucket=deployment.upload_bucket, Key=key, Body=path.read_bytes())
    console.print(f"s3://{deployment.upload_bucket}/{key}", highlight=False)
    return Upload(deployment.upload_bucket, key, answer["VersionId"])


def _show(emulator: Emulator, deployment: Deployment, status: RunStatus) -> None:
    _title(f"The run {status.state}")
    show_result(deployment, status, console)
    if status.metrics and console.is_terminal:  # elsewhere the result has it
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
    console.print(plain(f"Report on this machine:  {folder / Path(layout.report_page).name}"), soft_wrap=True)


def _say_how_to_talk(emulator: Emulator, status: RunStatus | None = None) -> None:
    _title("Still up. Talk to it from another shell")
    ours = {name: value for name, value in emulator.environment().items() if name.startswith("AWS_")}
    lines = [f"export {name}={value}" for name, value in sorted(ours.items())]
    if status and status.endpoint:
        lines += ["", f'.venv/bin/python -m cli ask {status.endpoint} "How is the weather?"', "", "# or from Python:"]
        lines += TALK.format(endpoint=status.endpoint).splitlines()
    console.print(plain("\n".join(lines)), soft_wrap=True)
    console.print("\nEnd it with: make down")


def _say_what_was_refused(emulator: Emulator) -> bool:
    """Whether a role was refused a call. Steps may go on without one, and yet on AWS something would be amiss."""
    refused = emulator.denials()
    if refused:
        _title("Permissions are missing: these calls were refused")
    for call in refused:
        role = call["caller"].split("/")[1] if "/" in call["caller"] else call["caller"]
        console.print(plain(f"{role}: {call['action']} on {call['resource'] or '*'}", "red"), soft_wrap=True)
    return bool(refused)


def _title(text: str) -> None:
    console.print(Rule(plain(text), align="left"))


def main() -> None:
    """Runs the command; what went wrong is said in a few lines."""
    try:
        sys.exit(app(standalone_mode=False))  # which returns the code of a typer.Exit
    except (EmulatorFailed, DeploymentFailed) as error:
        console.print(plain(str(error), "red"))
    except FineTuningError as error:
        console.print(plain(f"{error.code}: {error.message}\n{error.fix}", "red"))
    sys.exit(1)


if __name__ == "__main__":
    main()
