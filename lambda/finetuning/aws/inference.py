"""Asking an endpoint."""

import json
import time

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.aws.clients import client
from finetuning.evaluation.comparison import Ask, Reply
from finetuning.evaluation.prompts import invocation


def asker(endpoint: str) -> Ask:
    """Sends prompts to that endpoint. A refusal or an answer of another form is a `Reply` with an error, not raised:
    one prompt that fails should not hide what the others say."""

    def ask(inputs: str) -> Reply:
        started = time.monotonic()
        text, error = "", None
        try:
            response = client("sagemaker-runtime").invoke_endpoint(
                EndpointName=endpoint,
                ContentType="application/json",
                Accept="application/json",
                Body=json.dumps(invocation(inputs)).encode(),
            )
            text = _generated(response["Body"].read())
        except (ClientError, BotoCoreError, ValueError) as failure:
            error = str(failure)
        return Reply(text, round((time.monotonic() - started) * 1000), error)

    return ask


def _generated(body: bytes) -> str:
    """The text of `{"generated_text": …}`, or of a list of one such, as older containers answer."""
    answer = json.loads(body)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict) or not isinstance(answer.get("generated_text"), str):
        raise ValueError(f"The endpoint answered without generated_text: {body[:200]!r}")
    return str(answer["generated_text"])
