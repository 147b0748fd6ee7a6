"""The bodies in which models answer, whichever service passes them on."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from finetuning.evaluation.questions import PARAMETERS

MAX_NEW_TOKENS: int = PARAMETERS["max_new_tokens"]


def json_lines(parts: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, one per line. A part may end within a line, and a line of server-sent events starts
    with `data:`. Raises `ValueError` for anything else.
    """
    rest = b""
    for part in parts:
        *complete, rest = (rest + part).split(b"\n")
        yield from filter(None, map(_line, complete))
    yield from filter(None, [_line(rest)])


def _line(text: bytes) -> dict[str, Any] | None:
    text = text.strip().removeprefix(b"data:").strip()
    if not text or text == b"[DONE]":
        return None
    line = json.loads(text)
    line = line[0] if isinstance(line, list) and len(line) == 1 else line
    if not isinstance(line, dict):
        raise ValueError(f"The response has no generated_text: {text[:200]!r}")
    return line


def generated(body: bytes) -> tuple[str, bool | None]:
    """The text of `{"generated_text", "details": {"finish_reason"}}`, and whether the model ended it (None: unknown).
    Older containers send a list of one such object, without details; vLLM's server and Bedrock send
    `{"choices": [{"text", "finish_reason"}]}`, or Bedrock `{"generation", "stop_reason"}`. Raises `ValueError` for
    anything else.

    DJL LMI reports a failure during generation with status 200, an empty text and the finish_reason "error".
    """
    answer = json.loads(body)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        raise ValueError(f"The response has no generated_text: {body[:200]!r}")
    choices = answer.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        text, reason = choices[0].get("text"), choices[0].get("finish_reason")
    elif "generation" in answer:
        text, reason = answer["generation"], answer.get("stop_reason")
    else:
        text, reason = answer.get("generated_text"), (answer.get("details") or {}).get("finish_reason")
    if reason == "error" or not isinstance(text, str):
        raise ValueError(f"The response has no generated_text: {body[:200]!r}")
    return text, None if reason is None else reason != "length"
