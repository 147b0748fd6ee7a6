"""What an endpoint is sent, and what is made of whatever it answers."""

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from finetuning.aws.clients import client
from finetuning.aws.inference import asker
from finetuning.evaluation.comparison import Reply

REQUEST = {
    "EndpointName": "finetune-dev-pirate",
    "ContentType": "application/json",
    "Accept": "application/json",
    "Body": json.dumps(
        {
            "inputs": "Ahoy?",
            "parameters": {"max_new_tokens": 256, "top_p": 0.96, "temperature": 0.2, "do_sample": True},
        }
    ).encode(),
}


def asked(answer: bytes) -> Reply:
    """The reply to a question that the endpoint answers with those bytes."""
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_response(
            "invoke_endpoint", {"Body": StreamingBody(io.BytesIO(answer), len(answer))}, expected_params=REQUEST
        )
        reply = asker("finetune-dev-pirate")("Ahoy?")
        stubber.assert_no_pending_responses()
    return reply


@pytest.mark.parametrize("answer", ['{"generated_text": "Arr — matey"}', '[{"generated_text": "Arr — matey"}]'])
def test_the_generated_text_is_the_reply(aws: None, answer: str) -> None:
    reply = asked(answer.encode())
    assert (reply.text, reply.error) == ("Arr — matey", None)


@pytest.mark.parametrize(
    "answer", ['{"error": "CUDA out of memory", "code": 424}', "<html>", "[]", '{"generated_text": 7}']
)
def test_an_answer_of_another_form_is_an_error_and_not_an_empty_text(aws: None, answer: str) -> None:
    assert asked(answer.encode()).error


def test_a_model_that_fails_is_a_reply_with_its_words(aws: None) -> None:
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_client_error("invoke_endpoint", "ModelError", "Received server error (424) from primary")
        assert "server error (424)" in str(asker("finetune-dev-pirate")("Ahoy?").error)


def test_an_endpoint_that_takes_too_long_is_a_reply_with_an_error(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://runtime.sagemaker.us-east-1.amazonaws.com")

    monkeypatch.setattr(client("sagemaker-runtime"), "invoke_endpoint", time_out)
    assert "timeout" in str(asker("finetune-dev-pirate")("Ahoy?").error).lower()
