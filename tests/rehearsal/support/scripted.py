"""The deployed state machine with its functions scripted: real engine, real definition, and every edge of it named.

Each way from one state to another is led through a Pass state of its own, so that an execution's history says exactly
which of two ways to the same state was taken. Every Task calls one stub function, which asks the test what to answer; a
task that waits for its token gets it back with the answer.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from finetuning_cdk.state_machine.definition import PUT_EVENTS, definition
from rehearsal.running import Emulator
from tests.rehearsal.support.stacks import allow, any_function, any_role, any_state_machine

State = dict[str, Any]
Answers = Mapping[str, list[Any]]
"""State, or state and variant of the endpoint → the answers to the first, second … call of its function, then the usual
one; a `Raised` is raised."""

STUB = """
import json
import urllib.request

import boto3

def handler(event, context):
    with urllib.request.urlopen("{url}", json.dumps(event).encode()) as said:
        answer = json.loads(said.read())
    if "error" in answer:
        raise type(answer["error"], (Exception,), {{}})("scripted")
    if "task_token" in event["payload"]:
        output = json.dumps(answer["result"])
        boto3.client("stepfunctions").send_task_success(taskToken=event["payload"]["task_token"], output=output)
    return answer["result"]
"""


@dataclass(frozen=True)
class Raised:
    """An error of this name, instead of an answer."""

    error: str


@dataclass(frozen=True)
class Late:
    """An answer that takes some seconds."""

    seconds: float
    result: Any


def ways(name: str, state: State) -> Iterator[tuple[str, State, str]]:
    """Each way out of a state: its name, and the object and member that say where it leads."""
    if "Next" in state:
        yield f"{name} → {state['Next']}", state, "Next"
    for number, choice in enumerate(state.get("Choices", ()), start=1):
        yield f"{name} → {choice['Next']} (choice {number})", choice, "Next"
    if "Default" in state:
        yield f"{name} → {state['Default']} (otherwise)", state, "Default"
    for catcher in state.get("Catch", ()):
        yield f"{name} → {catcher['Next']} (after {', '.join(catcher['ErrorEquals'])})", catcher, "Next"


def instrumented(function: str) -> State:
    """The definition with a Pass state on every way, and every Task calling `function` with its own payload inside,
    those that send an event, too.
    """
    machine = definition()
    _instrument(machine, function)
    return machine


def _instrument(machine: State, function: str) -> None:
    passes: State = {}
    for name, state in machine["States"].items():
        for way, holder, member in list(ways(name, state)):
            passes[way] = {"Type": "Pass", "Next": holder[member]}
            holder[member] = way
        if state["Type"] == "Task":
            payload = {"state": name, "execution": "{% $states.context.Execution.Name %}"}
            if state["Resource"] == PUT_EVENTS:
                state["Resource"] = "arn:aws:states:::lambda:invoke"
            payload["payload"] = state["Arguments"].get("Payload", {})
            state["Arguments"] = {"FunctionName": function, "Payload": payload}
        if "ItemProcessor" in state:
            _instrument(state["ItemProcessor"], function)
    machine["States"] |= passes


@dataclass
class Scripted:
    """The instrumented state machine on the emulator. `usual` has each state's answer if the script has none."""

    emulator: Emulator
    usual: Mapping[str, Any]
    scripts: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Execution's name → the payloads its functions were given, each with the state's name."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        scripted = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(scripted._answer(asked)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """The test's output is no access log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        role = any_role(self.emulator, "lambda.amazonaws.com", allow("states:SendTaskSuccess"))
        source = STUB.format(url=f"http://127.0.0.1:{self._server.server_port}")
        function = any_function(self.emulator, source, role=role)
        self._machine = any_state_machine(self.emulator, instrumented(function))

    def start(self, name: str, answers: Answers, event: Mapping[str, Any]) -> str:
        """Starts an execution that gets these answers, and returns its ARN."""
        self.scripts[name] = deepcopy(dict(answers))
        started = self.emulator.client("stepfunctions").start_execution(
            stateMachineArn=self._machine, name=name, input=json.dumps(event)
        )
        return str(started["executionArn"])

    def entered(self, execution_arn: str) -> list[str]:
        """The states, and the ways between them, that the execution entered."""
        pages = self.emulator.client("stepfunctions").get_paginator("get_execution_history")
        events = [event for page in pages.paginate(executionArn=execution_arn) for event in page["events"]]
        return [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]

    def close(self) -> None:
        self._server.shutdown()

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.asked[asked["execution"]].append({**asked, "at": time.monotonic()})
            scripts, state = self.scripts[asked["execution"]], asked["state"]
            script = scripts.get(f"{state} {asked['payload'].get('variant')}") or scripts.get(state)
            answer = script.pop(0) if script else self.usual[state]
        if isinstance(answer, Late):
            time.sleep(answer.seconds)
            answer = answer.result
        return {"error": answer.error} if isinstance(answer, Raised) else {"result": answer}
