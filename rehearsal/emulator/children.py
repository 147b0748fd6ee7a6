"""The processes behind training jobs and endpoints: none outlives the emulator."""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "1000"}
"""PyTorch's threads (GNU OpenMP) wait for each other at full speed for long. Where two processes share the cores, that
is what the cores then do: two endpoints on two cores made 3 tokens a second each; with threads that soon sleep, 10."""


class Child:
    """A running module of `rehearsal.trainer`."""

    def __init__(self, report: int) -> None:
        self._report = report
        self._reported = select.poll()
        self._reported.register(report, select.POLLIN | select.POLLHUP)
        self._lock = threading.Lock()
        self._code: int | None = None
        self._pid = int(self._read_line())

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self.wait(0)

    def wait(self, seconds: float) -> int | None:
        """The exit code, as soon as there is one; None if it still runs after that time."""
        with self._lock:
            if self._code is None and self._reported.poll(seconds * 1000):
                self._code = int(self._read_line() or -signal.SIGKILL)  # no code: the launcher itself was killed
                os.close(self._report)
            return self._code

    def end(self, grace_seconds: float = 5) -> None:
        """SIGTERM, then SIGKILL if it has not ended within the grace period."""
        for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
            if self.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self._pid, number)
            self.wait(seconds)

    def _read_line(self) -> bytes:
        line = b""
        while (byte := os.read(self._report, 1)) not in (b"", b"\n"):
            line += byte
        return line


class Trainer:
    """Starts the modules of `rehearsal.trainer` in its own Python environment, as copies of a process that is ready."""

    def __init__(self, python: Path, project: Path) -> None:
        self._running: list[Child] = []
        self._lock = threading.Lock()
        # Linux counts the thread that started a process as its parent: this one lives as long as the emulator.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
        self._requests = self._starter.submit(_start_launcher, python, project).result()

    def start(self, module: str, *arguments: str | Path, output: IO[str]) -> Child:
        """Runs `python -m rehearsal.trainer.<module>`; all it prints goes to `output`."""
        request = json.dumps({"module": module, "arguments": [str(argument) for argument in arguments]}).encode()
        reader, writer = os.pipe()
        with self._lock:
            socket.send_fds(self._requests, [request], [output.fileno(), writer])
            os.close(writer)
            child = Child(reader)
            self._running.append(child)
        return child

    def end_all(self) -> None:
        """Ends what still runs, and the launcher."""
        for child in self._running:
            child.end(grace_seconds=1)
        self._requests.close()


def _start_launcher(python: Path, project: Path) -> socket.socket:
    ours, theirs = socket.socketpair()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | _ENVIRONMENT
    with theirs:
        subprocess.Popen(  # noqa: S603 — the command is made of our own settings
            [python, "-m", "rehearsal.trainer.launcher", "--socket", str(theirs.fileno())],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            preexec_fn=_die_with_parent,
        )
    return ours


def _die_with_parent() -> None:
    """Linux ends the child when the emulator is killed outright; elsewhere the emulator's process group has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
