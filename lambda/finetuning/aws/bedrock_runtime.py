"""Asking an imported model. Bedrock unloads it after some minutes without a call, and loads it again for the next one.

Bedrock reads the body of a call by its fields: with `max_tokens` as OpenAI's completions, and answers in that form; to
one with `max_gen_len`, and earlier to any, it answers with `generation`. Both forms of an answer are read.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.answer_bodies import MAX_NEW_TOKENS, generated, json_lines
from finetuning.aws.clients import client
from finetuning.aws.errors import denials, error_code
from finetuning.errors import Code, EndpointFailed
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.questions import completion

READY_SECONDS = 300
"""How long a model that is not loaded is waited for. AWS states no time."""
PAUSE_SECONDS = 10
NOT_LOADED = f"The model is not loaded: waiting up to {READY_SECONDS // 60} minutes while Bedrock loads it"

OnWait = Callable[[str], object]
"""Called with `NOT_LOADED` when the wait begins."""
R = TypeVar("R")


class _Patience:
    """Waits for a model to be loaded, for `READY_SECONDS` in all, however many calls wait for it."""

    def __init__(self, model_arn: str, on_wait: OnWait) -> None:
        self._model, self._on_wait = model_arn, on_wait
        self._until: float | None = None

    def call(self, invoke: Callable[[], R]) -> R:
        """Makes the call, again and again while the model is not loaded.

        Raises `EndpointFailed` (MODEL_NOT_READY) after the longest wait, and `FineTuningError` (ACCESS_DENIED).
        """
        while True:
            try:
                with denials(f"invoke the imported model {self._model}"):
                    return invoke()
            except ClientError as error:
                if error_code(error) != "ModelNotReadyException":
                    raise
                self._wait(error)

    def _wait(self, error: ClientError) -> None:
        if self._until is None:
            self._until = time.monotonic() + READY_SECONDS
            self._on_wait(NOT_LOADED)
        if time.monotonic() >= self._until:
            raise EndpointFailed(
                Code.MODEL_NOT_READY,
                f"Bedrock did not load the imported model {self._model} within {READY_SECONDS // 60} minutes: {error}",
                "Try again in a few minutes. The tuned model is kept: `finetune deploy RUN` deploys it again.",
            ) from error
        time.sleep(PAUSE_SECONDS)


def asker(
    model_arn: str,
    stops: Sequence[str] = (),
    max_new_tokens: int = MAX_NEW_TOKENS,
    on_wait: OnWait = lambda _: None,
) -> Ask:
    """Sends prompts to that model. A failed call is a `Reply` with an error, not an exception, so that one failed
    prompt does not hide the answers to the others. Raises `FineTuningError`: MODEL_NOT_READY, ACCESS_DENIED.
    """
    runtime, patience = client("bedrock-runtime"), _Patience(model_arn, on_wait)

    def ask(inputs: str) -> Reply:
        started = time.monotonic()
        text, error, finished = "", None, None
        try:
            response = patience.call(lambda: runtime.invoke_model(**_request(model_arn, inputs, stops, max_new_tokens)))
            text, finished = generated(response["body"].read())
        except (ClientError, BotoCoreError, ValueError) as failure:
            error = str(failure)
        return Reply(text, round((time.monotonic() - started) * 1000), error, finished)

    return ask


def stream_answer(
    model_arn: str,
    inputs: str,
    on_text: Callable[[str], None],
    stops: Sequence[str] = (),
    max_new_tokens: int = MAX_NEW_TOKENS,
    on_wait: OnWait = lambda _: None,
) -> Reply:
    """Sends one prompt, and passes each piece of the answer to `on_text` as it arrives.

    A stream that breaks off is a `Reply` with the text so far and an error. Raises `FineTuningError`: MODEL_NOT_READY,
    ACCESS_DENIED.
    """
    started = time.monotonic()
    pieces: list[str] = []
    error, finished = None, None
    runtime, request = client("bedrock-runtime"), _request(model_arn, inputs, stops, max_new_tokens)
    try:
        response = _Patience(model_arn, on_wait).call(lambda: runtime.invoke_model_with_response_stream(**request))
        for line in json_lines(event["chunk"]["bytes"] + b"\n" for event in response["body"]):
            text, ended = generated(json.dumps(line).encode())
            finished = finished if ended is None else ended
            pieces.append(text)
            on_text(text)
    except (ClientError, BotoCoreError, ValueError) as failure:  # a stream's error is a ClientError, too
        error = str(failure)
    return Reply("".join(pieces), round((time.monotonic() - started) * 1000), error, finished)


def _request(model_arn: str, inputs: str, stops: Sequence[str], max_new_tokens: int) -> dict[str, Any]:
    return {
        "modelId": model_arn,
        "contentType": "application/json",
        "accept": "application/json",
        "body": json.dumps(completion(inputs, stops, max_new_tokens)).encode(),
    }
