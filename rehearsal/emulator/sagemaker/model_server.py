"""The stand-in server of a model: a process on this machine that answers as a container of SageMaker does."""

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rehearsal.emulator.context import EmulatorContext

ANSWER_SECONDS = 60
"""SageMaker gives a container 60 seconds to answer an invocation."""
_READY_SECONDS = 180


class Retired(Exception):
    """The server takes no more calls: another one has taken its place."""


class ModelServer:
    """One stand-in server: a process on a free port of 127.0.0.1."""

    def __init__(self, context: EmulatorContext, name: str, model_folder: Path, as_vllm: bool) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.log = context.state / "endpoints" / f"{name}-{self.port}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._idle, self._calls, self._retired = threading.Condition(), 0, False
        with self.log.open("w") as log:
            arguments: list[str | Path] = ["--model-dir", model_folder, "--port", str(self.port)]
            if context.max_new_tokens:
                arguments += ["--max-new-tokens", str(context.max_new_tokens)]
            arguments += ["--as-vllm"] if as_vllm else []
            self.process = context.trainer.start("serve", *arguments, output=log)

    def wait_until_ready(self) -> None:
        """Raises `RuntimeError` with the end of the log when the server ends, or is not ready in time."""
        deadline = time.monotonic() + _READY_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            # Until it listens a connection is refused, and until the model is loaded /ping is.
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5):
                return
            time.sleep(0.1)
        raise RuntimeError(self.log.read_text()[-500:] or "no answer to /ping")

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While inside, the process is not stopped. Raises `Retired` once it is to be."""
        with self._idle:
            if self._retired:
                raise Retired
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def stop(self) -> None:
        """Ends the process when the calls under way have been answered."""
        with self._idle:
            self._retired = True
            self._idle.wait_for(lambda: self._calls == 0, timeout=ANSWER_SECONDS)
        self.process.end()
