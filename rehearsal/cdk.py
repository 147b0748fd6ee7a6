"""The real CDK CLI, unchanged, against the emulated AWS.

`python -m rehearsal.cdk dev prod` writes the templates of the stages to cdk.out.
"""

import fcntl
import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rehearsal.running import HOME, PROJECT, REGION, Emulator, aws_environment

ACCOUNT = "000000000000"
ASSEMBLIES = HOME / "assemblies"
KEPT_ASSEMBLIES = 6
SOURCES = ("app.py", "cdk.json", "examples/construct", "infra", "lambda", "requirements.txt", "package-lock.json")
"""All that the templates and the functions' code are made of: files, and folders with all their files."""

INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT)
"""How a program ends that Ctrl-C has reached, and a shell or npx whose program it has reached."""


class DeploymentFailed(Exception):
    """The CDK CLI ended with an error, which is on the screen."""


def deploy(emulator: Emulator, assembly: Path) -> None:
    """`cdk bootstrap` and `cdk deploy --all` of an assembly, their output on the screen."""
    # Where no cdk.json is in sight, the CLI does not run the app only to learn the environment it is given.
    _run(emulator.environment(), "bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=emulator.state)
    _run(
        emulator.environment(), "deploy", "--app", str(assembly), "--all", "--require-approval", "never",
        "--concurrency", "2", "--progress", "events",
    )  # fmt: skip


def destroy(emulator: Emulator, assembly: Path) -> None:
    """`cdk destroy --all`."""
    _run(emulator.environment(), "destroy", "--app", str(assembly), "--all", "--force")


def synthesised(context: Sequence[str] = (), *, app: str = "") -> Path:
    """The assembly of every stack, by `cdk synth` or, if no source has changed, from an earlier one.

    `context` is as `-c` takes it: `stage=dev`. `app` is a program in place of app.py. Needs no AWS.
    """
    folder = ASSEMBLIES / _digest([*context, app])
    with _alone():
        if folder.is_dir():
            folder.touch()
            return folder
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        program = ["--app", f"PYTHONPATH=lambda:infra .venv/bin/python {app}"] if app else []
        _run(aws_environment(), "synth", "--quiet", "--output", str(unfinished), *program, *_as_options(context))
        unfinished.rename(folder)
        for old in sorted(ASSEMBLIES.glob("*/"), key=lambda path: path.stat().st_mtime)[:-KEPT_ASSEMBLIES]:
            shutil.rmtree(old)
    return folder


@contextmanager
def _alone() -> Iterator[None]:
    """Lets others wait: what takes one process ten seconds is not done by two at a time."""
    ASSEMBLIES.mkdir(parents=True, exist_ok=True)
    with (ASSEMBLIES / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(context: Sequence[str]) -> str:
    digest = hashlib.sha256(repr(context).encode())
    for source in (PROJECT / name for name in SOURCES):
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(PROJECT)} {content}\n".encode())
    return digest.hexdigest()[:16]


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
    if status in INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise DeploymentFailed(f"`{' '.join(command)}` ended with status {status}")


if __name__ == "__main__":
    for stage in sys.argv[1:]:
        written = PROJECT / "cdk.out" / stage
        shutil.rmtree(written, ignore_errors=True)
        shutil.copytree(synthesised([f"stage={stage}"]), written)
        print(f"The templates of {stage} are in {written.relative_to(PROJECT)}")
