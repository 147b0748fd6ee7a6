"""The process that starts training jobs and servers without loading PyTorch for each."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("peft")

from rehearsal.trainer.opt_ml import OptMl
from tests.trainer.jobs import any_job

Start = Callable[..., Iterator[int]]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Starts a module; its first value is the process id, its second the exit code."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-m", "rehearsal.trainer.launcher", "--socket", str(theirs.fileno())]
            launcher = subprocess.Popen(command, pass_fds=[theirs.fileno()])

        def start(module: str, *arguments: object, output: Path) -> Iterator[int]:
            reader, writer = os.pipe()
            request = {"module": module, "arguments": [str(argument) for argument in arguments]}
            with output.open("w") as file:
                socket.send_fds(ours, [json.dumps(request).encode()], [file.fileno(), writer])
            os.close(writer)
            with os.fdopen(reader) as lines:
                yield from (int(line) for line in lines)

        yield start
    assert launcher.wait(10) == 0


def test_a_training_job_runs_to_its_end(start: Start, tiny: Path, tmp_path: Path) -> None:
    root, output = any_job(tmp_path), tmp_path / "output.log"
    process_id, code = start("train", "--root", root, "--base-model", tiny, output=output)
    assert code == 0
    assert process_id != code
    assert (OptMl(root).model / "config.json").is_file()
    assert "model written to" in output.read_text()


def test_a_job_that_fails_has_its_exit_code_and_its_last_words(start: Start, tiny: Path, tmp_path: Path) -> None:
    root, output = any_job(tmp_path, epoch="many"), tmp_path / "output.log"
    _, code = start("train", "--root", root, "--base-model", tiny, output=output)
    assert code == 1
    assert "epoch" in output.read_text()


def test_a_process_that_is_killed_has_its_signal_for_a_code(start: Start, tiny: Path, tmp_path: Path) -> None:
    served = start("serve", "--model-dir", tiny, "--port", 0, output=tmp_path / "output.log")
    os.kill(next(served), signal.SIGKILL)
    assert next(served) == -signal.SIGKILL
