"""Invoking an endpoint."""

import json
import time
from collections.abc import Callable, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.answer_bodies import MAX_NEW_TOKENS, generated, json_lines
from finetuning.aws.clients import client
from finetuning.aws.errors import denials
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.questions import invocation


def openai_base_url(endpoint: str) -> str:
    """What OpenAI's clients take as `base_url` of the endpoint, without a call to AWS.

    Source: SageMaker's developer guide, "Invoke endpoints with OpenAI-compatible APIs".
    """
    return f"{client('sagemaker-runtime').meta.endpoint_url}/endpoints/{endpoint}/openai/v1"


def asker(endpoint: str, stop_token_ids: Sequence[int] = (), max_new_tokens: int = MAX_NEW_TOKENS) -> Ask:
    """Sends prompts to that endpoint. A failed invocation is a `Reply` with an error, not an exception, so that one
    failed prompt does not hide the answers to the others. Raises `FineTuningError` (ACCESS_DENIED).
    """
    runtime = client("sagemaker-runtime")

    def ask(inputs: str) -> Reply:
        started = time.monotonic()
        text, error, finished = "", None, None
        try:
            with denials(f"invoke the endpoint {endpoint}"):
                response = runtime.invoke_endpoint(
                    EndpointName=endpoint,
                    ContentType="application/json",
                    Accept="application/json",
                    Body=json.dumps(invocation(inputs, stop_token_ids, max_new_tokens)).encode(),
                )
            text, finished = generated(response["Body"].read())
        except (ClientError, BotoCoreError, ValueError) as failure:
            error = str(failure)
        return Reply(text, round((time.monotonic() - started) * 1000), error, finished)

    return ask


def stream_answer(
    endpoint: str,
    inputs: str,
    on_text: Callable[[str], None],
    stop_token_ids: Sequence[int] = (),
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Reply:
    """Sends one prompt, and passes each piece of the answer to `on_text` as it arrives.

    From a container that cannot stream, and to a caller who may not stream, the text arrives as one piece. A stream
    that breaks off is a `Reply` with the text so far and an error. Raises `FineTuningError` (ACCESS_DENIED).
    """
    started = time.monotonic()
    try:
        response = client("sagemaker-runtime").invoke_endpoint_with_response_stream(
            EndpointName=endpoint,
            ContentType="application/json",
            Body=json.dumps(invocation(inputs, stop_token_ids, max_new_tokens) | {"stream": True}).encode(),
        )
    except (ClientError, BotoCoreError):
        return _passed_on(asker(endpoint, stop_token_ids, max_new_tokens)(inputs), on_text)
    pieces, error, finished = [], None, None
    try:
        for line in json_lines(event["PayloadPart"]["Bytes"] for event in response["Body"]):
            if "token" not in line:  # vLLM's stream, or a container that does not stream
                text, finished = generated(json.dumps(line).encode())
            else:
                text, reason = str(line["token"].get("text", "")), (line.get("details") or {}).get("finish_reason")
                if reason == "error":
                    raise ValueError("The endpoint stopped in the middle of its answer.")
                finished = finished if reason is None else reason != "length"
            pieces.append(text)
            on_text(text)
    except (ClientError, BotoCoreError, ValueError) as failure:  # a stream's error is a ClientError, too
        error = str(failure)
    return Reply("".join(pieces), round((time.monotonic() - started) * 1000), error, finished)


def _passed_on(reply: Reply, on_text: Callable[[str], None]) -> Reply:
    on_text(reply.text)
    return reply
