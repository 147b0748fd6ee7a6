"""Converse and ConverseStream: a chat in the form that Bedrock has for every model; how an imported one is asked so.

Sources: botocore's model of both operations, and Bedrock's user guide: "Invoke your imported model", which names them
for imported models, and "Handling Custom Chat Templates and Tokenizers", which says where a model's template may be.
That Bedrock refuses a model without one is the harsher reading of "make sure to include the chat_template". The words
of the refused conversations are those of AWS, read in users' reports.

Not rehearsed: images, documents, tools and guardrails, which are refused.
"""

import json
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import botocore.session

from rehearsal.emulator.request_check import constraint_violations
from rehearsal.emulator.sagemaker.errors import invalid

_SHAPE = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
MAX_TOKENS = 512
"""Where a request names no limit: AWS has the model's own, which no model of a rehearsal needs."""
_STOP_REASONS = {"length": "max_tokens"}
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_UNSUPPORTED = ("toolConfig", "guardrailConfig", "promptVariables", "additionalModelRequestFields", "outputConfig")

Event = tuple[str, dict[str, Any]]
"""The name of an event of a stream, and its content."""


def require_valid(model: str, request: dict[str, Any]) -> None:
    """Raises `Refused` for a request that is none by botocore's model. ConverseStream's has the same members."""
    assert _SHAPE is not None
    if wrong := list(constraint_violations(_SHAPE, request | {"modelId": model})):
        raise invalid("; ".join(wrong))


def response(text: str, stop_reason: str, tokens: tuple[int, int], started: float) -> dict[str, Any]:
    """Converse's. `tokens`: of the request and of the text; `started`: of `time.monotonic`."""
    message = {"role": "assistant", "content": [{"text": text}]}
    return {"output": {"message": message}, "stopReason": stop_reason, **_figures(tokens, started)}


def has_chat_template(model: Path) -> bool:
    """Whether the folder of a model holds one, in a file of its own or in its tokenizer's configuration."""
    configuration = model / "tokenizer_config.json"
    embedded = json.loads(configuration.read_text()) if configuration.exists() else {}
    return any((model / name).exists() for name in _TEMPLATES) or "chat_template" in embedded


def as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """The conversation as the body of OpenAI's chat. Raises `Refused` for one that Bedrock would not take."""
    if unsupported := [name for name in _UNSUPPORTED if request.get(name)]:
        raise invalid(f"This model doesn't support the {unsupported[0]} field. Remove {unsupported[0]} and try again.")
    conversation = request.get("messages") or []
    roles = [message["role"] for message in conversation]
    if roles[:1] != ["user"]:
        raise invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user "
            "message."
        )
    if any(role == following for role, following in pairwise(roles)):
        raise invalid(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
            "between user and assistant roles and try again."
        )
    system = [{"role": "system", "content": _text(request["system"])}] if request.get("system") else []
    messages = [{"role": message["role"], "content": _text(message["content"])} for message in conversation]
    limits = request.get("inferenceConfig") or {}
    named = {"temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
    chosen = {named[name]: limits[name] for name in named if name in limits}
    return {"messages": system + messages, "max_tokens": limits.get("maxTokens", MAX_TOKENS), **chosen}


def _text(blocks: list[dict[str, Any]]) -> str:
    for block in blocks:
        if (kind := next(iter(block), "")) != "text":
            raise invalid(f"This model doesn't support {kind} content blocks.")
    return "\n".join(block["text"] for block in blocks)


def answered(completion: dict[str, Any], started: float) -> dict[str, Any]:
    """The response with the answer of OpenAI's chat."""
    (choice,) = completion["choices"]
    text, reason = choice["message"]["content"], _stop_reason(choice["finish_reason"])
    return response(text, reason, _tokens(completion["usage"]), started)


def streamed(chunks: Iterable[dict[str, Any]], started: float) -> Iterator[Event]:
    """ConverseStream's events. `chunks`: OpenAI's; the last one has the usage, and no choice."""
    reason, usage = "stop", dict[str, int]()
    yield "messageStart", {"role": "assistant"}
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            if piece := choice["delta"].get("content"):
                yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": _stop_reason(reason)}
    yield "metadata", _figures(_tokens(usage), started)


def _stop_reason(finish_reason: str) -> str:
    return _STOP_REASONS.get(finish_reason, "end_turn")


def _tokens(usage: dict[str, int]) -> tuple[int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"]


def _figures(tokens: tuple[int, int], started: float) -> dict[str, Any]:
    asked, said = tokens
    usage = {"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said}
    return {"usage": usage, "metrics": {"latencyMs": round((time.monotonic() - started) * 1000)}}
