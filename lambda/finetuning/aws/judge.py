"""Asking a judge, a model in Bedrock, by the Converse API, which takes the same request for every model."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import boto3

from finetuning.aws.clients import JUDGING
from finetuning.aws.errors import translate_errors
from finetuning.errors import FineTuningError, TransientAwsError
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.runs.asking_limits import JUDGE_TOKENS


@cache
def judge_client() -> Any:
    """Untyped, because boto3 creates its clients at run time."""
    return boto3.client("bedrock-runtime", config=JUDGING)


def asker(judge: str, on_busy: Callable[[TransientAwsError], object]) -> Ask:
    """Sends questions to the judge, at temperature 0. A failed call is a `Reply` with an error, not an exception;
    `on_busy` gets the error of one that may succeed later.
    """
    runtime = judge_client()

    def ask(inputs: str) -> Reply:
        started, text, error = time.monotonic(), "", None
        try:
            with translate_errors(f"ask the judge {judge}"):
                response = runtime.converse(
                    modelId=judge,
                    messages=[{"role": "user", "content": [{"text": inputs}]}],
                    inferenceConfig={"maxTokens": JUDGE_TOKENS, "temperature": 0.0},
                )
            # A model that reasons has other parts before its answer.
            text = "".join(part.get("text", "") for part in response["output"]["message"]["content"])
        except TransientAwsError as busy:
            on_busy(busy)
            error = busy.message
        except FineTuningError as failure:
            error = failure.message
        return Reply(text, round((time.monotonic() - started) * 1000), error)

    return ask
