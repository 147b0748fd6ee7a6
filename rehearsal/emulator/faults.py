"""Faults: what a test makes go wrong, to see how the product handles it.

An injected fault waits in a list until the emulator reaches a place where it can happen. It is injected by HTTP:
`POST /_rehearsal/faults` with `{"fault": "capacity", "match": "", "after": 0, "times": 1, "message": ""}`. A fault
happens to everything that has each word of `match` in its description, which is explained below for each fault. The
first `after` of these are skipped, and it happens `times` times. What a run creates has the run's id in its
description: runs that take place at the same time can have different faults.
"""

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """The faults, by what is seen."""

    CAPACITY = "capacity"
    """A training job finds no instance of a type, and fails if it may take no other, each time with the next of
    `CAPACITY_REASONS`. Matches the job's name and the type.
    """
    PENDING = "pending"
    """A training job stays `Pending` without an instance until it is stopped. It was created as many hours earlier
    as the message says, or two days. Matches the job's name and its types.
    """
    PENDING_ENDS = "pending-ends"
    """A training job has been `Pending` for its `MaxPendingTimeInSeconds`, or 28 days, and SageMaker ends it. Matches
    the job's name and its types.
    """
    JOB_FAILS = "job-fails"
    """A training job's script fails at once, with the message in its log. Matches the job's name."""
    JOB_TIMES_OUT = "job-times-out"
    """A training job reaches its maximum run time at once, and is stopped. Matches the job's name."""
    JOB_HANGS = "job-hangs"
    """A training job does nothing until it is stopped, its time is over, or the fault is cleared. Matches the job's
    name."""
    JOB_STOPS = "job-stops"
    """Somebody stops a training job while it trains. Matches the job's name."""
    ENDPOINT_FAILS = "endpoint-fails"
    """An endpoint does not come up. Matches the endpoint's name."""
    ENDPOINT_HANGS = "endpoint-hangs"
    """An endpoint stays `Creating` or `Updating` until the fault is cleared. Matches the endpoint's name."""
    ENDPOINT_NO_CAPACITY = "endpoint-no-capacity"
    """An endpoint finds no instance of a type, and fails if it may take no other. Matches the endpoint's name and the
    type.
    """
    DELETING_COUNTS = "deleting-counts"
    """An endpoint stays `Deleting`, and counts against the quota, for as many seconds as the message says, or five.
    Matches the endpoint's name.
    """
    UPDATE_LATE = "update-late"
    """For as many seconds as the message says, or three, an endpoint that is being updated still shows `InService` and
    its old configuration. Matches the endpoint's name.
    """
    ENDPOINT_AGES = "endpoint-ages"
    """Not a fault but the passing of time: an endpoint in service was made, and last changed, as many hours earlier as
    the message says. Matches the endpoint's name."""
    ROLLBACK = "rollback"
    """An update of an endpoint rolls back to the old configuration. Matches the endpoint's name."""
    CAPTURE_KEPT = "capture-kept"
    """An update of an endpoint keeps the old configuration's data capture. Matches the endpoint's name."""
    VLLM_ANSWERS = "vllm-answers"
    """An endpoint's container answers as vLLM's server does, `choices` in place of `generated_text`. Matches the
    endpoint's name."""
    GZIP_OUTPUT = "gzip-output"
    """A specification does not say that the output is not compressed, as older documents do not. Matches each read of
    one by its key, and by the function that reads it and its run's id."""
    OPTIMISED_CONFIG_FIRST = "optimised-config-first"
    """A specification ranks first a configuration that needs a draft model with a licence of its own. Matches as
    `gzip-output` does."""
    IMPORT_QUOTA = "import-quota"
    """Bedrock refuses an import: the account has as many imported models as it may. Matches the model's name."""
    IMPORT_FAILS = "import-fails"
    """An import fails with the message. Matches the model's name."""
    IMPORT_HANGS = "import-hangs"
    """An import stays `InProgress` until the fault is cleared. Matches the model's name."""
    MODEL_UNLOADED = "model-unloaded"
    """Nobody has called an imported model for a while: it must be loaded again. Matches its name."""
    MODEL_NEVER_LOADED = "model-never-loaded"
    """Bedrock does not load an imported model. Matches its name."""
    JUDGE_GARBAGE = "judge-garbage"
    """A judge answers with the message, whatever it was asked. Matches `Converse`, the judge, the request and the name
    of the function that calls."""
    JUDGE_DENIED = "judge-denied"
    """Bedrock denies a call of a judge. Matches as `judge-garbage` does."""
    THROTTLING = "throttling"
    """A SageMaker or Bedrock call is refused with `ThrottlingException`. Matches the operation, the request,
    and the name of the function that calls."""
    EVENT_LOST = "event-lost"
    """An S3 event is not delivered. Matches the object's key."""
    EVENT_DUPLICATED = "event-duplicated"
    """An S3 event is delivered twice. Matches the object's key."""
    EVENT_NOT_TAKEN = "event-not-taken"
    """EventBridge does not take an event of a workflow. Matches the event's detail."""
    FUNCTION_DIES = "function-dies"
    """A function ends before it did anything, without an answer. Matches the function's name and its run's id."""
    FUNCTION_KILLED = "function-killed"
    """A function is killed in the middle: an AWS call that changes something is carried out, and the function never
    learns the answer. Matches every such call by the function's name and its run's id: `after` says which it is.
    """
    FUNCTION_IDLE = "function-idle"
    """Lambda refuses a call of a function in the VPC, because it has lost its network interfaces since its last call.
    The message may be the error's name. Matches the function's name and its run's id.
    """
    THROTTLED_ACCOUNT = "throttled-account"
    """The account has as many concurrent executions as the message says, or 10, and Lambda refuses a call beyond.
    Matches the refused function's name and its run's id."""
    LATE_INTERFACES = "late-interfaces"
    """The network interfaces of a deleted function stay for 20 seconds, or as many as the message says. Matches the
    function's name."""
    ZONE_REFUSED = "zone-refused"
    """The zone that the message names lacks a service or an instance type: EC2 does not list it there, and refuses a
    VPC endpoint, `times` times. Matches the service's name, or EC2's name of the type.
    """
    ANSWER_DIFFERS = "answer-differs"
    """AWS answers otherwise than the project assumes. The message says how (`answers`). Matches method, path, operation
    and request."""


@dataclass
class _Waiting:
    fault: Fault
    words: list[str]
    after: int
    times: int
    message: str

    def is_meant_for(self, fault: Fault, description: str) -> bool:
        return self.fault is fault and all(word in description for word in self.words)

    def happens_to(self, fault: Fault, description: str) -> bool:
        """Whether it is meant for this; those it lets pass are counted."""
        if not self.is_meant_for(fault, description):
            return False
        self.after -= 1
        return self.after < 0


class Faults:
    """The faults that wait to happen, and those that did. Safe to use from any thread."""

    def __init__(self) -> None:
        self.happened: list[dict[str, str]] = []
        """`fault`, and `match` as it was injected, each time that one happened."""
        self._waiting: list[_Waiting] = []
        self._held: list[tuple[set[str], threading.Event]] = []
        self._lock = threading.Lock()

    def inject(self, injection: dict[str, Any]) -> None:
        """Raises `ValueError` for a fault that does not exist."""
        waiting = _Waiting(
            fault=Fault(injection["fault"]),
            words=injection.get("match", "").split(),
            after=int(injection.get("after", 0)),
            times=int(injection.get("times", 1)),
            message=injection.get("message", "") or "injected by the rehearsal",
        )
        with self._lock:
            self._waiting.append(waiting)

    def clear(self, match: str = "") -> None:
        """Forgets every fault that was injected with all words of `match`, and ends those that hold something up."""
        words = set(match.split())
        with self._lock:
            self._waiting = [waiting for waiting in self._waiting if not words <= {*waiting.words}]
            for held, released in self._held:
                if words <= held:
                    released.set()
            self._held = [(held, released) for held, released in self._held if not released.is_set()]

    def waits(self, fault: Fault) -> bool:
        """Whether any of this kind waits."""
        with self._lock:
            return any(waiting.fault is fault for waiting in self._waiting)

    def take(self, fault: Fault, description: str) -> str | None:
        """The message of the first fault of this kind that happens to this, used up by one; None without any."""
        with self._lock:
            waiting = self._next(fault, description)
            return waiting.message if waiting else None

    def peek(self, fault: Fault, description: str) -> str | None:
        """The message of the first fault of this kind that is meant for this, which does not happen yet."""
        with self._lock:
            return next((each.message for each in self._waiting if each.is_meant_for(fault, description)), None)

    def hold(self, fault: Fault, description: str) -> threading.Event:
        """What is set once the fault is cleared, or at once where it does not happen to this."""
        released = threading.Event()
        with self._lock:
            if waiting := self._next(fault, description):
                self._held.append(({*waiting.words}, released))
            else:
                released.set()
        return released

    def number(self, fault: Fault, description: str, default: float) -> float | None:
        """Like `take`, for a fault whose message is a number; the default for another message."""
        message = self.take(fault, description)
        if message is None:
            return None
        return float(message) if message.replace(".", "", 1).isdecimal() else default

    def _next(self, fault: Fault, description: str) -> _Waiting | None:
        for waiting in self._waiting:
            if waiting.happens_to(fault, description):
                self.happened.append({"fault": str(fault), "match": " ".join(waiting.words)})
                waiting.times -= 1
                if waiting.times <= 0:
                    self._waiting.remove(waiting)
                return waiting
        return None
