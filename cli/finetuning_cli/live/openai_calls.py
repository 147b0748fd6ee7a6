"""A call of the endpoint at the address that OpenAI's clients use, with nothing but HTTP."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from finetuning.aws.clients import client
from finetuning.aws.sagemaker_runtime import openai_base_url
from finetuning_cli.stage.bearer_token import bearer_token

_SECONDS = 70


@dataclass(frozen=True)
class HttpAnswer:
    """Whatever came; status 0 if nothing did, with the reason as the body."""

    status: int
    content_type: str
    body: str


def chat(endpoint: str, prompt: str, **options: Any) -> HttpAnswer:
    """Asks the endpoint by a chat of one question, with a token of ten minutes."""
    token = bearer_token(str(client("sagemaker-runtime").meta.region_name), timedelta(minutes=10))
    asked = {"model": "", "messages": [{"role": "user", "content": prompt}], "max_tokens": 64, **options}
    request = urllib.request.Request(  # noqa: S310 — the address is boto3's own
        f"{openai_base_url(endpoint)}/chat/completions",
        json.dumps(asked).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 — as above
            return HttpAnswer(answer.status, answer.headers.get("content-type", ""), answer.read().decode())
    except urllib.error.HTTPError as refusal:
        return HttpAnswer(refusal.code, "", refusal.read().decode(errors="replace"))
    except OSError as error:
        return HttpAnswer(0, "", str(error))
