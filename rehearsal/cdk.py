"""The real CDK CLI, unchanged, against the emulated AWS."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rehearsal.running import PROJECT, REGION, Emulator

ACCOUNT = "000000000000"


class DeploymentFailed(Exception):
    """The CDK CLI ended with an error; what it said is on the screen."""


def deploy(emulator: Emulator, context: Sequence[str] = ()) -> None:
    """`cdk bootstrap` and `cdk deploy --all`, their output on the screen; `context` as `-c` takes it: `stage=dev`."""
    # Where no cdk.json is in sight, the CLI does not run the app only to learn the environment it is given.
    _run(emulator.environment(), "bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=emulator.state)
    _run(
        emulator.environment(), "deploy", "--all", "--require-approval", "never", "--concurrency", "2",
        "--progress", "events", "--output", str(emulator.state / "cdk.out"), *_as_options(context),
    )  # fmt: skip


def destroy(emulator: Emulator, context: Sequence[str] = ()) -> None:
    """`cdk destroy --all`."""
    output = str(emulator.state / "cdk.out")
    _run(emulator.environment(), "destroy", "--all", "--force", "--output", output, *_as_options(context))


def synthesise(folder: Path, context: Sequence[str] = ()) -> None:
    """`cdk synth` of every stack into the folder; needs no AWS of any kind."""
    _run(dict(os.environ), "synth", "--quiet", "--output", str(folder), *_as_options(context))


def _as_options(context: Sequence[str]) -> list[str]:
    return [word for setting in context for word in ("--context", setting)]


def _run(environment: dict[str, str], *arguments: str, folder: Path = PROJECT) -> None:
    command = ["npx", "--no-install", "--prefix", str(PROJECT), "cdk", *arguments, "--no-notices"]
    process = subprocess.Popen(command, cwd=folder, env=environment)  # noqa: S603 — our own words
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)  # a second one, should the first have reached only us
        process.wait()
        raise
    if status:
        raise DeploymentFailed(f"`{' '.join(command)}` ended with status {status}")
