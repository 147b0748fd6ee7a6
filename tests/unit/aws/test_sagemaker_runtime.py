"""What an endpoint is sent, and what is made of whatever it answers."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EventStreamError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from finetuning.aws.clients import client
from finetuning.aws.sagemaker_runtime import asker, stream_answer
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.comparison import Reply

REQUEST = {
    "EndpointName": "finetune-dev-pirate",
    "ContentType": "application/json",
    "Accept": "application/json",
    "Body": json.dumps(
        {
            "inputs": "Ahoy?",
            "parameters": {
                "max_new_tokens": 256,
                "top_p": 0.96,
                "temperature": 0.2,
                "do_sample": True,
                "seed": 10,
                "details": True,
            },
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


@pytest.mark.parametrize(
    "answer",
    [
        '{"generated_text": "Arr — matey"}',
        '[{"generated_text": "Arr — matey"}]',
        '{"object": "text_completion", "choices": [{"index": 0, "text": "Arr — matey"}]}',
    ],
)
def test_the_generated_text_is_the_reply(aws: None, answer: str) -> None:
    reply = asked(answer.encode())
    assert (reply.text, reply.error) == ("Arr — matey", None)


@pytest.mark.parametrize(("reason", "finished"), [("eos_token", True), ("stop_sequence", True), ("length", False)])
def test_the_details_say_whether_the_model_ended_its_answer(aws: None, reason: str, finished: bool) -> None:
    body = {"generated_text": "Arr", "details": {"finish_reason": reason, "generated_tokens": 1}}
    assert asked(json.dumps(body).encode()).finished is finished


@pytest.mark.parametrize(("reason", "finished"), [("stop", True), ("length", False), (None, None)])
def test_a_choice_says_whether_the_model_ended_it(aws: None, reason: str | None, finished: bool | None) -> None:
    assert asked(json.dumps({"choices": [{"text": "Arr", "finish_reason": reason}]}).encode()).finished is finished


def test_the_tokens_that_end_an_answer_are_sent(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def invoke(Body: bytes, **_: Any) -> Any:  # noqa: N803  # boto3's name
        sent.append(json.loads(Body)["parameters"]["stop_token_ids"])
        raise EventStreamError({"Error": {"Code": "ModelError", "Message": "gone"}}, "Invoke")

    for call in ("invoke_endpoint", "invoke_endpoint_with_response_stream"):
        monkeypatch.setattr(client("sagemaker-runtime"), call, invoke)
    stream_answer("finetune-dev-pirate", "Ahoy?", lambda _: None, (7, 9))
    assert sent == [[7, 9], [7, 9]]


def test_a_denied_call_is_no_answer_of_the_endpoint(aws: None) -> None:
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_client_error("invoke_endpoint", "AccessDeniedException", "not you")
        with pytest.raises(FineTuningError, match="cannot invoke the endpoint finetune-dev-pirate: not you") as denied:
            asker("finetune-dev-pirate")("Ahoy?")
    assert denied.value.code == Code.ACCESS_DENIED


def test_a_caller_who_may_not_stream_gets_the_answer_as_one_piece(aws: None) -> None:
    answer, on_text = b'{"generated_text": "Arr"}', list[str]()
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_client_error("invoke_endpoint_with_response_stream", "AccessDeniedException", "not you")
        stubber.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(answer), len(answer))})
        reply = stream_answer("finetune-dev-pirate", "Ahoy?", on_text.append)
    assert (reply.text, reply.error, on_text) == ("Arr", None, ["Arr"])


def test_without_details_nobody_knows(aws: None) -> None:
    assert asked(b'{"generated_text": "Arr"}').finished is None


def test_a_failure_amid_generation_is_an_error_though_its_status_is_200(aws: None) -> None:
    assert asked(b'{"generated_text": "", "details": {"finish_reason": "error"}}').error


@pytest.mark.parametrize(
    "answer",
    [
        '{"error": "CUDA out of memory", "code": 424}',
        "<html>",
        "[]",
        '{"generated_text": 7}',
        '{"choices": []}',
        '{"choices": [{}]}',
    ],
)
def test_an_answer_of_another_form_is_an_error_and_not_an_empty_text(aws: None, answer: str) -> None:
    assert asked(answer.encode()).error


STREAM = {
    "json lines": b'{"token": {"id": 1, "text": "Arr"}}\n{"token": {"id": 2, "text": " \xe2\x80\x94 matey"}, '
    b'"generated_text": "Arr \xe2\x80\x94 matey", "details": {"finish_reason": "eos_token"}}\n',
    "server-sent events": b'data:{"token": {"text": "Arr"}}\n\ndata: {"token": {"text": " \xe2\x80\x94 matey"}, '
    b'"generated_text": "Arr", "details": {"finish_reason": "eos_token"}}\n\n',
    "vLLM's events": b'data: {"choices": [{"text": "Arr", "finish_reason": null}]}\n\n'
    b'data: {"choices": [{"text": " \xe2\x80\x94 matey", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
    "the whole at once": b'{"generated_text": "Arr \xe2\x80\x94 matey", "details": {"finish_reason": "eos_token"}}',
}


@pytest.mark.parametrize("form", STREAM)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_heard_piece_by_piece_wherever_its_parts_end(
    aws: None, form: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = STREAM[form]
    parts = [{"PayloadPart": {"Bytes": body[at : at + size]}} for at in range(0, len(body), size)]
    monkeypatch.setattr(
        client("sagemaker-runtime"), "invoke_endpoint_with_response_stream", lambda **_: {"Body": parts}
    )
    on_text: list[str] = []
    reply = stream_answer("finetune-dev-pirate", "Ahoy?", on_text.append)
    assert (reply.text, reply.error, reply.finished) == ("Arr — matey", None, True)
    assert on_text == (["Arr — matey"] if form == "the whole at once" else ["Arr", " — matey"])


def test_a_stream_that_breaks_off_keeps_what_came_and_says_so(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def parts() -> Iterator[dict[str, Any]]:
        yield {"PayloadPart": {"Bytes": b'{"token": {"text": "Arr"}}\n'}}
        raise EventStreamError({"Error": {"Code": "ModelStreamError", "Message": "gone"}}, "Invoke")

    monkeypatch.setattr(
        client("sagemaker-runtime"), "invoke_endpoint_with_response_stream", lambda **_: {"Body": parts()}
    )
    reply = stream_answer("finetune-dev-pirate", "Ahoy?", lambda _: None)
    assert reply.text == "Arr"
    assert "gone" in str(reply.error)


def test_a_container_that_cannot_stream_is_asked_for_the_whole(aws: None) -> None:
    answer = b'{"generated_text": "Arr"}'
    on_text: list[str] = []
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_client_error("invoke_endpoint_with_response_stream", "ValidationError", "no streaming here")
        stubber.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(answer), len(answer))})
        assert stream_answer("finetune-dev-pirate", "Ahoy?", on_text.append).text == "Arr"
    assert on_text == ["Arr"]


def test_a_model_that_fails_is_a_reply_with_its_words(aws: None) -> None:
    with Stubber(client("sagemaker-runtime")) as stubber:
        stubber.add_client_error("invoke_endpoint", "ModelError", "Received server error (424) from primary")
        assert "server error (424)" in str(asker("finetune-dev-pirate")("Ahoy?").error)


def test_an_endpoint_that_takes_too_long_is_a_reply_with_an_error(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://runtime.sagemaker.us-east-1.amazonaws.com")

    monkeypatch.setattr(client("sagemaker-runtime"), "invoke_endpoint", time_out)
    assert "timeout" in str(asker("finetune-dev-pirate")("Ahoy?").error).lower()
