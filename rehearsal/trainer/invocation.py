"""The bodies that go in and out of `/invocations`, as DJL-LMI 0.29 reads and writes them."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Parameters(BaseModel):
    """`parameters` of a request, with DJL-LMI 0.29's names and defaults; names it does not know are ignored.

    As there, `temperature`, `top_p` and `top_k` count only with `do_sample`.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    max_new_tokens: int = Field(30, ge=1)
    do_sample: bool = False
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1)
    repetition_penalty: float = Field(1.0, gt=0)
    seed: int | None = None
    stop: list[str] = []
    stop_token_ids: list[int] = []
    """Of Llama 3's vocabulary, which the request is written for."""
    return_full_text: bool = False
    details: bool = False

    def generation_arguments(self) -> dict[str, Any]:
        """The same, as transformers' `generate` takes it."""
        arguments: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "repetition_penalty": self.repetition_penalty,
            "do_sample": self.do_sample and self.temperature > 0,
        }
        if arguments["do_sample"]:
            arguments |= {"temperature": self.temperature, "top_p": self.top_p, "top_k": max(self.top_k, 0)}
        return arguments


class Token(BaseModel):
    """One token as the container reports it, but for its probability, which is not looked at here."""

    id: int
    text: str


OnToken = Callable[[Token], None]
"""Called with each token as it is generated."""


class Answer(BaseModel):
    """`finish_reason` in DJL-LMI's words: "length" where max_new_tokens cut it off."""

    text: str
    prompt_tokens: int
    tokens: list[Token]
    finish_reason: Literal["eos_token", "stop_sequence", "length"]


class RequestError(Exception):
    """The request cannot be answered; the message says why."""


class Model(Protocol):
    """What answers."""

    def complete(self, prompt: str, parameters: Parameters, on_token: OnToken = ...) -> Answer: ...

    def chat(self, messages: list[dict[str, str]], parameters: Parameters, on_token: OnToken = ...) -> Answer: ...


def respond(model: Model, body: Any) -> dict[str, Any]:
    """The response to one request body. Raises `RequestError` or pydantic's error for what is wrong with it."""
    if isinstance(body, dict) and "messages" in body:
        return chat_completion(model, body)
    prompt, parameters = _prompt(body)
    answer = model.complete(prompt, parameters)
    tokens = [token.model_dump() for token in answer.tokens]
    details = {"details": _details(answer, prompt) | {"tokens": tokens}} if parameters.details else {}
    return {"generated_text": answer.text, **details}


def in_vllm_words(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer as vLLM's completions have it; one that has `choices` already stays as it is."""
    if "choices" in answer:
        return answer
    reason = (answer.get("details") or {}).get("finish_reason")
    ended = {"finish_reason": "length" if reason == "length" else "stop"} if "generated_text" in answer else {}
    text = answer["token"]["text"] if "token" in answer else answer["generated_text"]
    return {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": None, **ended}]}


def in_vllm_lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The JSON lines of an answer as server-sent events, which end with `[DONE]`."""
    for line in lines:
        yield b"data: " + json.dumps(in_vllm_words(json.loads(line))).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


def wants_stream(body: Any) -> bool:
    """Whether the answer is to come token by token; a chat's is not rehearsed that way."""
    return isinstance(body, dict) and body.get("stream") is True and "messages" not in body


def respond_in_lines(model: Model, body: Any) -> Iterator[bytes]:
    """The response as JSON lines, one per token as it is generated; the last one also has `generated_text`.

    Raises the errors of `respond` before the first line; a later error is a last line of its own.
    """
    prompt, parameters = _prompt(body)
    generated: SimpleQueue[Token | Answer | Exception] = SimpleQueue()

    def speak() -> None:
        try:
            generated.put(model.complete(prompt, parameters, generated.put))
        except Exception as error:  # noqa: BLE001 — raised again where the lines are read
            generated.put(error)

    threading.Thread(target=speak, daemon=True).start()
    latest: Token | None = None
    while True:
        match generated.get():
            case Token() as token:
                if latest:
                    yield _line({"token": latest.model_dump()})
                latest = token
            case Answer() as answer:
                details = {"details": _details(answer, prompt)} if parameters.details else {}
                token = latest or Token(id=-1, text="")
                yield _line({"token": token.model_dump(), "generated_text": answer.text, **details})
                return
            case Exception() as error:
                if latest is None:
                    raise error
                failed = {"finish_reason": "error", "generated_tokens": None, "inputs": None}
                yield _line({"token": {"id": -1, "text": ""}, "generated_text": "", "details": failed})
                return


def _prompt(body: Any) -> tuple[str, Parameters]:
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    if not isinstance(body.get("inputs"), str):
        raise RequestError("the body must have inputs, a string, or messages")
    return body["inputs"], Parameters.model_validate(body.get("parameters") or {})


def _details(answer: Answer, prompt: str) -> dict[str, Any]:
    return {"finish_reason": answer.finish_reason, "generated_tokens": len(answer.tokens), "inputs": prompt}


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def chat_completion(model: Model, body: dict[str, Any]) -> dict[str, Any]:
    """An OpenAI chat completion; it samples when the request names a temperature, since OpenAI has no `do_sample`."""
    named = {"do_sample": "temperature" in body} | body
    if "max_tokens" in body:
        named["max_new_tokens"] = body["max_tokens"]
    answer = model.chat(body["messages"], Parameters.model_validate(named))
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": str(body.get("model", "")),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "logprobs": None,
                "finish_reason": "length" if answer.finish_reason == "length" else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": len(answer.tokens),
            "total_tokens": answer.prompt_tokens + len(answer.tokens),
        },
    }
