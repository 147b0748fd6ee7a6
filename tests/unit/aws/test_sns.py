"""Notifications."""

import json

import pytest

from finetuning.aws.sns import notify
from finetuning.errors import FineTuningError
from finetuning.report.messages import Message
from tests.builders.aws import FakeAws


def test_a_message_is_published_as_text_and_for_a_chat(cloud: FakeAws) -> None:
    message = Message("Done", "The endpoint answers.", {"state": "succeeded"})
    notify("arn:topic", message)
    (request,) = cloud["sns"].requests("publish")
    forms = json.loads(request.pop("Message"))
    assert forms["default"] == "The endpoint answers."
    assert json.loads(forms["https"]) == message.chat
    assert request == {
        "TopicArn": "arn:topic",
        "Subject": "Done",
        "MessageStructure": "json",
        "MessageAttributes": {"state": {"DataType": "String", "StringValue": "succeeded"}},
    }


def test_a_message_that_cannot_be_sent_is_an_error(cloud: FakeAws) -> None:
    cloud["sns"].refuse("publish", "NotFound")
    with pytest.raises(FineTuningError, match="notification"):
        notify("arn:topic", Message("Done", ""))
