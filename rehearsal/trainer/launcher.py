"""Starts training jobs and servers as copies of one process that has loaded PyTorch, which takes seconds of a core.

    python -m rehearsal.trainer.launcher --socket DESCRIPTOR

A request is one message on the socket: `{"module": "train", "arguments": [...]}` with two open files, the output of the
new process and a pipe that reports on it. The pipe gets two lines: the process id, and, once it has ended, the exit
code. The next request is sent after the process id was read.
"""

import argparse
import ctypes
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence

LIBRARIES = ("torch", "transformers.models.llama.modeling_llama", "peft", "uvicorn", "starlette.applications")
MODULES = ("rehearsal.trainer.train", "rehearsal.trainer.serve", "rehearsal.trainer.generation")
MAX_REQUEST_BYTES = 1 << 16
COPIES = sys.platform == "linux"
"""Elsewhere processes start from nothing: macOS's libraries do not survive a copy of the process that loaded them."""
_PR_SET_PDEATHSIG = 1


class Launcher:
    """Answers requests until the other end of the socket closes."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._reports: dict[int, int] = {}
        """The pipe of each process that has not ended, by process id."""

    def run(self) -> None:
        wake_reader, wake_writer = os.pipe()
        for end in (wake_reader, wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(wake_reader, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if wake_reader in ready:
                    os.read(wake_reader, 4096)
                    self._report_ended()
                if self._requests in ready and not self._answer():
                    return

    def _answer(self) -> bool:
        """Starts what the next request asks for; False once there are no more requests."""
        message, files, _, _ = socket.recv_fds(self._requests, MAX_REQUEST_BYTES, 2)
        if not message:
            return False
        request, (output, report) = json.loads(message), files
        pid = self._start(request["module"], request["arguments"], output)
        os.close(output)
        os.write(report, b"%d\n" % pid)
        self._reports[pid] = report
        return True

    def _start(self, module: str, arguments: Sequence[str], output: int) -> int:
        if not COPIES:
            command = [sys.executable, "-m", f"rehearsal.trainer.{module}", *arguments]
            return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL).pid  # noqa: S603
        if pid := os.fork():
            return pid
        os._exit(_run_copy(module, arguments, output))

    def _report_ended(self) -> None:
        while self._reports:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            report = self._reports.pop(pid)
            os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(report)


def _run_copy(module: str, arguments: Sequence[str], output: int) -> int:
    """The new process's life; returns its exit code. It ends when the launcher does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.argv = [f"rehearsal.trainer.{module}", *arguments]
    try:
        importlib.import_module(f"rehearsal.trainer.{module}").main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 — this process has no caller to pass it on to
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts training jobs and servers from a process that loaded PyTorch.")
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the inherited socket")
    descriptor = parser.parse_args().socket
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the emulator, which ends this process
    if COPIES:
        for name in (*LIBRARIES, *MODULES):
            importlib.import_module(name)
    with socket.socket(fileno=descriptor) as requests:
        Launcher(requests).run()


if __name__ == "__main__":
    main()
