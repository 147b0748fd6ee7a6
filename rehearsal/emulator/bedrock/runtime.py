"""Calls of imported models: loaded at the first one, unloaded when none comes for some minutes, answered as trained.

A body is read by its fields, as AWS's guide has it: `max_gen_len` as Bedrock's own form, `max_tokens` as OpenAI's
completions, `messages` as OpenAI's chat. Converse has a form of its own.
"""

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from rehearsal.emulator.bedrock import converse
from rehearsal.emulator.bedrock.converse import Event
from rehearsal.emulator.bedrock.imports import Imports
from rehearsal.emulator.context import EmulatorContext
from rehearsal.emulator.faults import Fault
from rehearsal.emulator.sagemaker.errors import Refused, invalid
from rehearsal.emulator.sagemaker.model_server import ANSWER_SECONDS, ModelServer

IDLE_SECONDS = 300
NOT_READY = "Model is not ready for inference. Wait and try your request again."


class ImportedModelRuntime:
    """Answers for every imported model, by one server for each that is loaded."""

    def __init__(self, context: EmulatorContext, imports: Imports) -> None:
        self._world, self._imports = context, imports
        self._servers: dict[str, ModelServer] = {}
        self._loading: set[str] = set()
        self._idle: dict[str, threading.Timer] = {}
        self._lock = threading.Lock()

    def invoke(self, arn: str, body: bytes) -> bytes:
        request = json.loads(body)
        return _in_own_words(self._answer(arn, lambda: _for_the_server(request)), request)

    def invoke_with_stream(self, arn: str, body: bytes) -> Iterator[Event]:
        """The chunks. What is wrong with the request shows before the first."""
        request = json.loads(body)
        pieces = self._pieces(arn, lambda: _for_the_server(request))
        words = (_in_own_words(piece, request) for piece in pieces)
        return (("chunk", {"bytes": base64.b64encode(piece).decode()}) for piece in words)

    def converse(self, arn: str, body: bytes) -> bytes:
        started = time.monotonic()
        completion = self._answer(arn, lambda: self._chat(arn, body))
        return json.dumps(converse.answered(completion, started)).encode()

    def converse_with_stream(self, arn: str, body: bytes) -> Iterator[Event]:
        started = time.monotonic()
        counted = {"stream_options": {"include_usage": True}}
        return converse.streamed(self._pieces(arn, lambda: self._chat(arn, body) | counted), started)

    def _chat(self, arn: str, body: bytes) -> dict[str, Any]:
        if not converse.has_chat_template(self._imports.folders[arn]):
            raise invalid("The model has no chat template: Converse is not supported for it.")
        return converse.as_chat(json.loads(body))

    def unload(self, arn: str) -> None:
        """Ends the model's server: nobody called it for a while, or it was deleted."""
        with self._lock:
            server, timer = self._servers.pop(arn, None), self._idle.pop(arn, None)
        if timer:
            timer.cancel()
        if server:
            server.stop()

    def _answer(self, arn: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._ask(arn, body, stream=False) as answer:
            whole: dict[str, Any] = json.loads(answer.read())
            return whole

    def _pieces(self, arn: str, body: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        answer = self._ask(arn, body, stream=True)

        def pieces() -> Iterator[dict[str, Any]]:
            with answer:
                for line in answer:
                    said = line.removeprefix(b"data:").strip()
                    if said and said != b"[DONE]":
                        yield json.loads(said)

        return pieces()

    def _ask(self, arn: str, body: Callable[[], dict[str, Any]], stream: bool) -> Any:
        """Sends the model's server a body, which is made once the model is loaded: that is looked at first."""
        server = self._loaded(arn)
        asked = json.dumps(body() | {"stream": stream}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/invocations", asked, {"Content-Type": "application/json"}
        )
        try:
            return urllib.request.urlopen(request, timeout=ANSWER_SECONDS)  # noqa: S310 — our own server
        except urllib.error.HTTPError as error:
            raise Refused("ModelErrorException", error.read().decode(errors="replace"), status=424) from error
        except OSError as error:
            raise Refused("ModelErrorException", f"no answer from the model: {error}", status=424) from error

    def _loaded(self, arn: str) -> ModelServer:
        """The model's server. Loads it, and refuses the call, if there is none yet."""
        name = self._imports.describe_model(arn)["modelName"]
        if self._world.faults.take(Fault.MODEL_UNLOADED, name):
            self.unload(arn)
        if self._world.faults.take(Fault.MODEL_NEVER_LOADED, name):
            raise Refused("ModelNotReadyException", NOT_READY, status=429)
        with self._lock:
            server = self._servers.get(arn)
            if server is None and arn not in self._loading:
                self._loading.add(arn)
                threading.Thread(target=self._load, args=(arn, name), daemon=True).start()
            if timer := self._idle.pop(arn, None):
                timer.cancel()
            if server:
                self._idle[arn] = timer = threading.Timer(IDLE_SECONDS, self.unload, (arn,))
                timer.daemon = True
                timer.start()
        if server is None:
            raise Refused("ModelNotReadyException", NOT_READY, status=429)
        return server

    def _load(self, arn: str, name: str) -> None:
        try:
            server = ModelServer(self._world, name, self._imports.folders[arn], as_vllm=True)
            server.wait_until_ready()
            self._servers[arn] = server
        finally:
            self._loading.discard(arn)


def _for_the_server(request: dict[str, Any]) -> dict[str, Any]:
    """The body that the stand-in server reads. Raises `Refused` for one that Bedrock would not take."""
    if "messages" in request:
        # The ARN names the model. LiteLLM repeats it in the body.
        return {name: value for name, value in request.items() if name != "model"}
    if not isinstance(request.get("prompt"), str):
        raise Refused("ValidationException", "Malformed input request: prompt or messages is required.")
    parameters: dict[str, Any] = {
        name: request[name] for name in ("temperature", "top_p", "seed", "stop") if name in request
    }
    parameters |= {
        "max_new_tokens": request.get("max_tokens", request.get("max_gen_len", 512)),
        "do_sample": request.get("temperature", 1.0) > 0,
        "details": True,
    }
    return {"inputs": request["prompt"], "parameters": parameters}


def _in_own_words(answer: dict[str, Any], request: dict[str, Any]) -> bytes:
    if "max_gen_len" not in request:
        return json.dumps(answer).encode()
    (choice,) = answer["choices"]
    return json.dumps({"generation": choice["text"], "stop_reason": choice["finish_reason"]}).encode()
