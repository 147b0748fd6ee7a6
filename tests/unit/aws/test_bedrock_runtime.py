"""What an imported model is sent, what is made of its answers, and how long one that is not loaded is waited for."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from finetuning.aws import bedrock_runtime
from finetuning.aws.bedrock_runtime import NOT_LOADED, PAUSE_SECONDS, READY_SECONDS, asker, stream_answer
from finetuning.aws.clients import ONCE_IMPORTED
from finetuning.errors import Code, FineTuningError
from finetuning.evaluation.asking import CALLS_AT_ONCE, PAUSES, PROMPTS_PER_BATCH
from tests.builders.aws import FakeAws, client_error

MODEL = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdef012345"
NOT_READY = client_error("ModelNotReadyException", "Model is not ready for inference.")


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pauses = 0.0, list[float]()
        monkeypatch.setattr(bedrock_runtime.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(bedrock_runtime.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def answers(cloud: FakeAws, body: bytes, refusals: int = 0) -> list[dict[str, Any]]:
    """Lets the model answer so, after it was not loaded for as many calls. Returns what it is asked."""
    asked: list[dict[str, Any]] = []

    def invoke(**request: Any) -> dict[str, Any]:
        asked.append(request)
        if len(asked) <= refusals:
            raise NOT_READY
        return {"body": io.BytesIO(body)}

    cloud["bedrock-runtime"].answers["invoke_model"] = invoke
    return asked


COMPLETION = b'{"choices": [{"index": 0, "text": "Arr", "finish_reason": "stop"}]}'


def test_the_rendered_text_is_sent_in_the_form_of_openai_s_completions(cloud: FakeAws) -> None:
    asked = answers(cloud, COMPLETION)
    reply = asker(MODEL, ("<|eot_id|>",), 50)("<|begin_of_text|>Ahoy?")
    assert (reply.text, reply.error, reply.finished) == ("Arr", None, True)
    (request,) = asked
    assert request["modelId"] == MODEL
    assert json.loads(request["body"]) == {
        "prompt": "<|begin_of_text|>Ahoy?",
        "max_tokens": 50,
        "temperature": 0.2,
        "top_p": 0.96,
        "seed": 10,
        "stop": ["<|eot_id|>"],
    }


@pytest.mark.parametrize(
    ("body", "text", "finished"),
    [
        (b'{"generation": "Arr", "stop_reason": "stop"}', "Arr", True),
        (b'{"generation": "Arr", "stop_reason": "length"}', "Arr", False),
        (b'{"generation": "Arr"}', "Arr", None),
        (b'{"choices": [{"text": "Arr", "finish_reason": "length"}]}', "Arr", False),
    ],
)
def test_both_forms_of_an_answer_are_read(cloud: FakeAws, body: bytes, text: str, finished: bool | None) -> None:
    answers(cloud, body)
    reply = asker(MODEL)("Ahoy?")
    assert (reply.text, reply.finished, reply.error) == (text, finished, None)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"generation": 7}', b'{"choices": []}'])
def test_an_answer_of_another_form_is_an_error(cloud: FakeAws, body: bytes) -> None:
    answers(cloud, body)
    assert asker(MODEL)("Ahoy?").error


def test_a_model_that_is_not_loaded_is_waited_for_and_that_is_said_once(cloud: FakeAws, clock: Clock) -> None:
    said: list[str] = []
    asked = answers(cloud, COMPLETION, refusals=4)
    ask = asker(MODEL, on_wait=said.append)
    assert (ask("Ahoy?").text, ask("Again?").text) == ("Arr", "Arr")
    assert (said, len(asked)) == ([NOT_LOADED], 6)
    assert clock.pauses == [PAUSE_SECONDS] * 4


def test_a_model_that_is_never_loaded_is_given_up_after_five_minutes_for_all_calls(
    cloud: FakeAws, clock: Clock
) -> None:
    cloud["bedrock-runtime"].answers["invoke_model"] = NOT_READY
    ask = asker(MODEL)
    for _ in range(3):
        with pytest.raises(FineTuningError, match="did not load the imported model") as late:
            ask("Ahoy?")
        assert late.value.code == Code.MODEL_NOT_READY
    assert READY_SECONDS <= clock.now < READY_SECONDS + PAUSE_SECONDS


def test_another_error_is_no_reason_to_wait(cloud: FakeAws, clock: Clock) -> None:
    cloud["bedrock-runtime"].answers["invoke_model"] = client_error("ModelErrorException", "out of memory")
    assert "out of memory" in (asker(MODEL)("Ahoy?").error or "")
    assert clock.pauses == []


@pytest.mark.parametrize("call", ["invoke_model", "invoke_model_with_response_stream"])
def test_a_denied_call_is_no_answer_of_the_model(cloud: FakeAws, clock: Clock, call: str) -> None:
    cloud["bedrock-runtime"].answers[call] = client_error("AccessDeniedException", "not you", "InvokeModel")
    with pytest.raises(FineTuningError, match=f"cannot invoke the imported model {MODEL}: not you") as denied:
        asker(MODEL)("Ahoy?") if call == "invoke_model" else stream_answer(MODEL, "Ahoy?", lambda _: None)
    assert denied.value.code == Code.ACCESS_DENIED
    assert clock.pauses == []


def test_a_batch_ends_within_a_function_s_time_though_its_model_must_be_loaded_first() -> None:
    rounds = -(-PROMPTS_PER_BATCH // CALLS_AT_ONCE)
    one = (1 + len(PAUSES)) * ONCE_IMPORTED.read_timeout + sum(PAUSES)
    assert READY_SECONDS + PAUSE_SECONDS + rounds * one < 900


def chunks(*pieces: bytes) -> dict[str, Any]:
    return {"body": [{"chunk": {"bytes": piece}} for piece in pieces]}


@pytest.mark.parametrize("form", ["choices", "events", "generation"])
def test_an_answer_is_passed_on_as_it_arrives(cloud: FakeAws, clock: Clock, form: str) -> None:
    wrap: dict[str, Callable[[str, str | None], dict[str, Any]]] = {
        "choices": lambda text, reason: {"choices": [{"text": text, "finish_reason": reason}]},
        "events": lambda text, reason: {"choices": [{"text": text, "finish_reason": reason}]},
        "generation": lambda text, reason: {"generation": text, "stop_reason": reason},
    }
    lines = [json.dumps(wrap[form](*each)).encode() for each in (("Arr", None), (" matey", "length"))]
    lines = [b"data: " + line + b"\n\n" for line in lines] if form == "events" else lines
    replies = iter([NOT_READY, chunks(*lines)])

    def stream(**_: Any) -> Any:
        if isinstance(reply := next(replies), Exception):
            raise reply
        return reply

    cloud["bedrock-runtime"].answers["invoke_model_with_response_stream"] = stream
    heard, said = list[str](), list[str]()
    reply = stream_answer(MODEL, "Ahoy?", heard.append, on_wait=said.append)
    assert (heard, said) == (["Arr", " matey"], [NOT_LOADED])
    assert (reply.text, reply.finished, reply.error) == ("Arr matey", False, None)


def test_a_stream_that_breaks_off_keeps_what_was_heard(cloud: FakeAws) -> None:
    broken = chunks(b'{"choices": [{"text": "Arr", "finish_reason": null}]}', b"<html>")
    cloud["bedrock-runtime"].answers["invoke_model_with_response_stream"] = broken
    reply = stream_answer(MODEL, "Ahoy?", lambda _: None)
    assert reply.text == "Arr"
    assert reply.error
