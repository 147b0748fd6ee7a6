"""Processes the stand-ins start: none outlives the emulator."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_running: set["subprocess.Popen[str]"] = set()
_lock = threading.Lock()
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="children")
"""Linux counts the thread that started a child as its parent: this one lives as long as the emulator."""

_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "GOMP_SPINCOUNT": "1000"}
"""PyTorch's threads (GNU OpenMP) wait for each other at full speed for long. Where two processes share the cores, that
is what the cores then do: two endpoints on two cores made 3 tokens a second each; with threads that soon sleep, 10."""


def _die_with_parent() -> None:
    """Linux ends the child when the emulator is killed outright; elsewhere the emulator's process group has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: Sequence[str | Path], cwd: Path, output: Any) -> "subprocess.Popen[str]":
    """Starts a process whose output goes to `output` (a file, or `subprocess.PIPE`), as one line-buffered stream."""
    process = _starter.submit(_start, command, cwd, output).result()
    with _lock:
        _running.add(process)
    return process


def _start(command: Sequence[str | Path], cwd: Path, output: Any) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | _ENVIRONMENT
    return subprocess.Popen(  # noqa: S603 — the command is made of our own settings
        command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True, bufsize=1,
        preexec_fn=_die_with_parent,
    )  # fmt: skip


def end(process: "subprocess.Popen[str]", grace_seconds: float = 5) -> None:
    """SIGTERM, then SIGKILL for one that does not listen."""
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with _lock:
        _running.discard(process)


def end_all() -> None:
    with _lock:
        left = list(_running)
    for process in left:
        end(process, grace_seconds=1)
