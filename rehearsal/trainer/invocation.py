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


NO_TOKEN = Token(id=-1, text="")
"""Of an answer that has none, or that broke off."""

OnToken = Callable[[Token], None]
"""Called with each token as it is generated."""


class Answer(BaseModel):
    """`finish_reason` in DJL-LMI's words: "length" where max_new_tokens cut it off."""

    text: str
    prompt_tokens: int
    tokens: list[Token]
    finish_reason: Literal["eos_token", "stop_sequence", "length", "error"]


BROKEN_OFF = Answer(text="", prompt_tokens=0, tokens=[], finish_reason="error")
"""What a stream ends with when its model fails after the first token."""


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
    """The same answer as vLLM's server has it: `choices`, and its own words for why the answer ended."""
    if "choices" in answer:
        return {"model": "", **answer, "choices": [_in_vllm_choice(choice) for choice in answer["choices"]]}
    reason = (answer.get("details") or {}).get("finish_reason")
    ended = {"finish_reason": "length" if reason == "length" else "stop"} if "generated_text" in answer else {}
    text = answer["token"]["text"] if "token" in answer else answer["generated_text"]
    return {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": None, **ended}]}


def _in_vllm_choice(choice: dict[str, Any]) -> dict[str, Any]:
    reason = choice["finish_reason"]
    return choice | {"finish_reason": reason if reason in (None, "length") else "stop"}


def in_vllm_lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The JSON lines of an answer as server-sent events, which end with `[DONE]`. A usage is in an event of its own."""
    for line in lines:
        said = in_vllm_words(json.loads(line))
        usage = said.pop("usage", None)
        yield _event(said)
        if usage:
            yield _event({**said, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def wants_stream(body: Any) -> bool:
    """Whether the answer is to come token by token."""
    return isinstance(body, dict) and body.get("stream") is True


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether the end of a chat's stream is to count its tokens. DJL-LMI 0.29 does not read this field of OpenAI's."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def respond_in_lines(model: Model, body: Any, with_usage: bool = False) -> Iterator[bytes]:
    """The response as JSON lines, one per token as it is generated; the last one also has why it ended, the
    `generated_text` of a prompt, and the usage of a chat if that is asked for.

    Raises the errors of `respond` before the first line; a later error is a last line of its own.
    """
    if "messages" in body:
        messages, chosen = body["messages"], _chat_parameters(body)
        return _in_lines(lambda on_token: model.chat(messages, chosen, on_token), _chat_chunks(with_usage))
    prompt, parameters = _prompt(body)

    def line(token: Token, answer: Answer | None) -> dict[str, Any]:
        if answer is None:
            return {"token": token.model_dump()}
        shown = parameters.details or answer is BROKEN_OFF
        details = {"details": _details(answer, prompt)} if shown else {}
        return {"token": token.model_dump(), "generated_text": answer.text, **details}

    return _in_lines(lambda on_token: model.complete(prompt, parameters, on_token), line)


Line = Callable[[Token, Answer | None], dict[str, Any]]
"""What a token's line has; with the answer, for its last token."""


def _chat_chunks(with_usage: bool) -> Line:
    """OpenAI's chunks as DJL-LMI 0.29 writes them: the first one names the role."""
    common = {"id": _chat_id(), "object": "chat.completion.chunk", "created": int(time.time())}
    role = iter([{"role": "assistant"}])

    def line(token: Token, answer: Answer | None) -> dict[str, Any]:
        delta = {"content": token.text, **next(role, {})}
        reason = answer.finish_reason if answer else None
        usage = {"usage": _usage(answer)} if answer and with_usage else {}
        return common | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}], **usage}

    return line


def _in_lines(generate: Callable[[OnToken], Answer], line: Line) -> Iterator[bytes]:
    generated: SimpleQueue[Token | Answer | Exception] = SimpleQueue()

    def speak() -> None:
        try:
            generated.put(generate(generated.put))
        except Exception as error:  # noqa: BLE001 — raised again where the lines are read
            generated.put(error)

    threading.Thread(target=speak, daemon=True).start()
    latest: Token | None = None
    while True:
        match generated.get():
            case Token() as token:
                if latest:
                    yield _line(line(latest, None))
                latest = token
            case Answer() as answer:
                yield _line(line(latest or NO_TOKEN, answer))
                return
            case Exception() as error:
                if latest is None:
                    raise error
                yield _line(line(NO_TOKEN, BROKEN_OFF))
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


def _chat_parameters(body: dict[str, Any]) -> Parameters:
    """What OpenAI's fields mean to DJL-LMI 0.29: it samples at a temperature of 1 unless the request has another, and
    reads `max_tokens` but not `max_completion_tokens` (`chat_properties.py` of that version).
    """
    named = {name: value for name, value in body.items() if value is not None}
    stop = named.get("stop", [])
    temperature = named.get("temperature", 1.0)
    named |= {
        "temperature": temperature,
        "do_sample": temperature > 0,
        "stop": [stop] if isinstance(stop, str) else stop,
    }
    if "max_tokens" in named:
        named["max_new_tokens"] = named["max_tokens"]
    return Parameters.model_validate(named)


def chat_completion(model: Model, body: dict[str, Any]) -> dict[str, Any]:
    """An OpenAI chat completion in DJL-LMI 0.29's form: without `model`, and with its own words for why it ended."""
    answer = model.chat(body["messages"], _chat_parameters(body))
    return {
        "id": _chat_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "logprobs": None,
                "finish_reason": answer.finish_reason,
            }
        ],
        "usage": _usage(answer),
    }


def _usage(answer: Answer) -> dict[str, int]:
    prompt, completion = answer.prompt_tokens, len(answer.tokens)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chat_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
