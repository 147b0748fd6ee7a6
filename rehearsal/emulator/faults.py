"""What can be made to go wrong on purpose, to see the product meet it.

Faults wait in a list; the place where one can happen takes it when it comes by. They are set over HTTP:
`POST /_rehearsal/faults` with `{"fault": "capacity", "match": "", "times": 1, "message": ""}`, where `match` is a part
of the name of the job, endpoint, operation, function or key it is meant for.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """The faults, by what is seen."""

    CAPACITY = "capacity"
    """The next training job fails with `CapacityError`, as SageMaker reports missing instances."""
    JOB_FAILS = "job-fails"
    """The next training job fails with an `AlgorithmError`."""
    JOB_STOPS = "job-stops"
    """Somebody stops the next training job while it trains."""
    ENDPOINT_FAILS = "endpoint-fails"
    """The next endpoint does not come up."""
    ROLLBACK = "rollback"
    """The next update of an endpoint rolls back: it ends `InService` on the old configuration."""
    THROTTLING = "throttling"
    """The next calls of the SageMaker operation that matches are refused with `ThrottlingException`."""
    EVENT_LOST = "event-lost"
    """The next S3 event whose key matches is not delivered."""
    EVENT_DUPLICATED = "event-duplicated"
    """The next S3 event whose key matches is delivered twice."""
    FUNCTION_DIES = "function-dies"
    """The next invocation of the function whose name matches ends without an answer."""


@dataclass
class _Waiting:
    fault: Fault
    match: str
    times: int
    message: str


class Faults:
    """The faults that wait to happen. Safe to use from any thread."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def inject(self, wish: dict[str, Any]) -> None:
        """Raises `ValueError` for a fault that does not exist."""
        waiting = _Waiting(
            Fault(wish["fault"]), wish.get("match", ""), int(wish.get("times", 1)), wish.get("message", "")
        )
        with self._lock:
            self._waiting.append(waiting)

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def take(self, fault: Fault, name: str) -> str | None:
        """The message of the first fault of this kind that waits for this name, used up by one; None without any."""
        with self._lock:
            for waiting in self._waiting:
                if waiting.fault is fault and waiting.match in name:
                    waiting.times -= 1
                    if waiting.times <= 0:
                        self._waiting.remove(waiting)
                    return waiting.message or "injected by the rehearsal"
        return None
