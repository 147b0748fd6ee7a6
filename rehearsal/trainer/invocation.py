"""The bodies that go in and out of `/invocations`, as DJL-LMI 0.29 reads and writes them."""

import time
import uuid
from typing import Any, Protocol

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
    return_full_text: bool = False

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


class Answer(BaseModel):
    text: str
    prompt_tokens: int
    new_tokens: int
    finished: bool  # the model ended by itself; else max_new_tokens did


class RequestError(Exception):
    """The request cannot be answered; the message says why."""


class Model(Protocol):
    """What answers."""

    def complete(self, prompt: str, parameters: Parameters) -> Answer: ...

    def chat(self, messages: list[dict[str, str]], parameters: Parameters) -> Answer: ...


def respond(model: Model, body: Any) -> dict[str, Any]:
    """The response to one request body. Raises `RequestError` or pydantic's error for what is wrong with it."""
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    if "messages" in body:
        return chat_completion(model, body)
    if not isinstance(body.get("inputs"), str):
        raise RequestError("the body must have inputs, a string, or messages")
    parameters = Parameters.model_validate(body.get("parameters") or {})
    return {"generated_text": model.complete(body["inputs"], parameters).text}


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
                "finish_reason": "stop" if answer.finished else "length",
            }
        ],
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.new_tokens,
            "total_tokens": answer.prompt_tokens + answer.new_tokens,
        },
    }
