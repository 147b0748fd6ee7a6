"""What the emulated Bedrock makes of a conversation, and of the answer to it."""

import json
import time
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from rehearsal.emulator.bedrock.converse import MAX_TOKENS, answered, as_chat, has_chat_template, streamed
from rehearsal.emulator.sagemaker.errors import Refused

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
COUNTED = {"inputTokens": 7, "outputTokens": 2, "totalTokens": 9}


def says(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"text": text} for text in texts]}


def valid(response: dict[str, Any], *members: str) -> dict[str, Any]:
    """The response, if it is one by botocore's model of ConverseStream's events, or of Converse."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("ConverseStream" if members else "Converse").output_shape
    for member in members:
        shape = shape.members[member]
    validate_parameters(response, shape)
    return response


def test_a_conversation_is_a_chat_with_its_system_prompt_first() -> None:
    request = {
        "system": [{"text": "Be brief."}],
        "messages": [says("user", "Big", "kettle"), says("assistant", "Yes."), says("user", "Why?")],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0, "topP": 0.5, "stopSequences": ["."]},
    }
    assert as_chat(request) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Big\nkettle"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "Why?"},
        ],
        "max_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["."],
    }
    assert as_chat({"messages": [says("user", "Why?")]})["max_tokens"] == MAX_TOKENS


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"messages": []}, "must start with a user message"),
        ({"messages": [says("assistant", "Yes.")]}, "must start with a user message"),
        ({"messages": [says("user", "Why?"), says("user", "Why?")]}, "must alternate between user and assistant"),
        ({"messages": [{"role": "user", "content": [{"image": {}}]}]}, "doesn't support image content blocks"),
        ({"messages": [says("user", "Why?")], "toolConfig": {"tools": [{}]}}, "doesn't support the toolConfig field"),
    ],
)
def test_what_the_model_does_not_take_is_refused(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        as_chat(request_)
    assert refused.value.code == "ValidationException"


@pytest.mark.parametrize(("ended", "reason"), [("stop", "end_turn"), ("length", "max_tokens")])
def test_an_answer_has_the_form_of_botocores_model(ended: str, reason: str) -> None:
    message = {"role": "assistant", "content": "Arr — matey"}
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": ended}], "usage": USAGE}
    response = valid(answered(completion, time.monotonic()))
    assert response["output"]["message"] == says("assistant", "Arr — matey")
    assert (response["stopReason"], response["usage"]) == (reason, COUNTED)


def test_a_stream_has_the_events_of_botocores_model() -> None:
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": "Arr"}, None),
        ({"content": " — matey"}, None),
        ({"content": ""}, "length"),
    ]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": ended}]} for delta, ended in deltas]
    events = list(streamed([*chunks, {"choices": [], "usage": USAGE}], time.monotonic()))
    assert [kind for kind, _ in events] == [
        "messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
    ]  # fmt: skip
    for kind, content in events:
        valid(content, "stream", kind)
    assert [content["delta"]["text"] for kind, content in events if "delta" in content] == ["Arr", " — matey"]
    assert events[-2][1] == {"stopReason": "max_tokens"}
    assert events[-1][1]["usage"] == COUNTED


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("chat_template.jinja", "{{ messages }}", True),
        ("chat_template.json", "{}", True),
        ("tokenizer_config.json", json.dumps({"chat_template": "{{ messages }}"}), True),
        ("tokenizer_config.json", "{}", False),
        ("config.json", "{}", False),
    ],
)
def test_a_chat_template_is_in_its_own_file_or_in_the_tokenizers(
    tmp_path: Path, name: str, content: str, found: bool
) -> None:
    (tmp_path / name).write_text(content)
    assert has_chat_template(tmp_path) is found
