"""A function's memory limit: its process is killed once it has held more than the function has, as on Lambda.

The kernel records each process's peak of resident memory (`VmHWM`), so a peak between two looks is not missed. Linux
only: elsewhere functions have no limit. An address-space limit (`RLIMIT_AS`) would not do: libraries reserve far more
addresses than they use, and Python would raise `MemoryError` where Lambda kills.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ministack.core import lambda_runtime

LOOK_SECONDS = 0.02
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@contextmanager
def limited(worker: lambda_runtime.Worker) -> Iterator["Watched"]:
    """Watches the worker's process, which may be started inside the block, and kills it if it exceeds its memory."""
    watched, over = Watched(worker), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            watched.kill_if_exceeded()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield watched
        watched.kill_if_exceeded()
    finally:
        over.set()
        watcher.join()


class Watched:
    """A function's process during one call."""

    def __init__(self, worker: lambda_runtime.Worker) -> None:
        self._worker = worker
        self._limit_kib = int(worker.config.get("MemorySize", 128)) << 10
        self._process: subprocess.Popen[str] | None = None

    def kill_if_exceeded(self) -> None:
        """Kills the process if it has ever held more than the limit."""
        self._process = self._worker._proc or self._process
        if self._process and _peak_kib(self._process) > self._limit_kib:
            self._process.kill()
            self._process.wait()

    @property
    def end(self) -> str | None:
        """How the process ended, in Lambda's words; None if it lives."""
        code = self._process.poll() if self._process else None
        if code is None:
            return None
        return "signal: killed" if code == -9 else f"exit status {code}"


def _peak_kib(process: subprocess.Popen[str]) -> int:
    """The most memory that the process has held; 0 once it has ended."""
    if sys.platform != "linux":
        return 0
    try:
        found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0
