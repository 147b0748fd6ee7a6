"""Notifications."""

import pytest

from finetuning.aws.sns import notify
from finetuning.errors import FineTuningError
from finetuning.report.messages import Message
from tests.builders.aws import FakeAws


def test_a_message_is_published_on_the_topic(cloud: FakeAws) -> None:
    notify("arn:topic", Message("Done", "The endpoint answers.", {"state": "succeeded"}))
    attributes = {"state": {"DataType": "String", "StringValue": "succeeded"}}
    assert cloud["sns"].calls == [
        (
            "publish",
            {
                "TopicArn": "arn:topic",
                "Subject": "Done",
                "Message": "The endpoint answers.",
                "MessageAttributes": attributes,
            },
        )
    ]


def test_a_message_that_cannot_be_sent_is_an_error(cloud: FakeAws) -> None:
    cloud["sns"].refuse("publish", "NotFound")
    with pytest.raises(FineTuningError, match="notification"):
        notify("arn:topic", Message("Done", ""))
