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
    _cdk(emulator, "bootstrap", f"aws://{ACCOUNT}/{REGION}")
    _cdk(
        emulator, "deploy", "--all", "--require-approval", "never", "--concurrency", "2", "--progress", "events",
        "--output", str(emulator.state / "cdk.out"), *_as_options(context),
    )  # fmt: skip


def destroy(emulator: Emulator, context: Sequence[str] = ()) -> None:
    """`cdk destroy --all`."""
    _cdk(emulator, "destroy", "--all", "--force", "--output", str(emulator.state / "cdk.out"), *_as_options(context))


def synthesise(folder: Path, context: Sequence[str] = ()) -> None:
    """`cdk synth` of every stack into the folder; needs no AWS of any kind."""
    _run(dict(os.environ), "synth", "--quiet", "--output", str(folder), *_as_options(context))


def _as_options(context: Sequence[str]) -> list[str]:
    return [word for setting in context for word in ("--context", setting)]


def _cdk(emulator: Emulator, *arguments: str) -> None:
    _run(emulator.environment(), *arguments)


def _run(environment: dict[str, str], *arguments: str) -> None:
    command = ["npx", "--no-install", "cdk", *arguments, "--no-notices"]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment)  # noqa: S603 — our own words
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)  # a second one, should the first have reached only us
        process.wait()
        raise
    if status:
        raise DeploymentFailed(f"`{' '.join(command)}` ended with status {status}")
