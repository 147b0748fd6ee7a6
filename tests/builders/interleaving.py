"""Several actors at once, in an order that a seed decides: each stops before every call to AWS and to the store."""

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.builders.aws import FakeService
from tests.builders.memory import MemoryStore

MOST_TURNS = 5_000
"""More than any order of calls takes."""


class _Actor:
    def __init__(self, name: str, work: Callable[[], None], failures: list[BaseException]) -> None:
        self.name = name
        self.turn, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.is_over = False
        self._work, self._failures = work, failures
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self.turn.acquire()
        try:
            self._work()
        except BaseException as failure:  # noqa: BLE001 — raised again by `run`
            self._failures.append(failure)
        self.is_over = True
        self.stopped.release()

    def step(self) -> None:
        """Lets it work until its next call."""
        self.turn.release()
        self.stopped.acquire()


class Interleaving:
    """Runs actors one call at a time. The same seed gives the same order."""

    def __init__(self, seed: int, between: Callable[[], None]) -> None:
        self.random = random.Random(seed)
        self._between = between
        self._actors: list[_Actor] = []
        self._failures: list[BaseException] = []
        self._now: _Actor | None = None
        self.trace: list[str] = []

    def add(self, name: str, work: Callable[[], None]) -> None:
        """An actor that begins when its first turn comes; also while others work."""
        self._actors.append(_Actor(name, work, self._failures))

    def pause(self, call: str) -> None:
        """What an actor does before a call: it waits for its turn. Nothing outside an actor."""
        actor = self._now
        if actor is None:
            return
        actor.stopped.release()
        actor.turn.acquire()
        self.trace.append(f"{actor.name}: {call}")

    def run(self) -> None:
        """Until every actor is over. Raises what an actor raised."""
        for _ in range(MOST_TURNS):
            alive = [actor for actor in self._actors if not actor.is_over]
            if not alive:
                break
            self._now = self.random.choice(alive)
            self._now.step()
            self._now = None
            if self._failures:
                raise self._failures[0]
            self._between()
        else:
            raise AssertionError(f"{[actor.name for actor in self._actors if not actor.is_over]} came to no end")


class PausingService:
    """A service's client whose every call is a turn of its actor's."""

    def __init__(self, service: FakeService, pause: Callable[[str], None]) -> None:
        self._service, self._pause = service, pause
        self.meta = getattr(service, "meta", None)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self._pause(operation)
            return getattr(self._service, operation)(**request)

        return call

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **request: [getattr(self, operation)(**request)])


class PausingStore(MemoryStore):
    """The stage's documents, each of whose reads and writes is a turn of its actor's."""

    def __init__(self) -> None:
        super().__init__()
        self.pause: Callable[[str], None] = lambda call: None

    def read(self, key: str) -> bytes | None:
        self.pause(f"read {key}")
        return super().read(key)

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        self.pause(f"write {key}")
        super().write(key, body, content_type)

    def _replace(self, key: str, body: bytes, version: str) -> bool:
        self.pause(f"replace {key}")
        return super()._replace(key, body, version)

    def claim(self, key: str, body: bytes) -> bytes:
        self.pause(f"claim {key}")
        return super().claim(key, body)
