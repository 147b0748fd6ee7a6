"""Notifications to the team on the stage's SNS topic."""

import json

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.report.messages import Message


def notify(topic_arn: str, message: Message) -> None:
    """Publishes the message: as text to every subscription but those by https, which get its form for a chat."""
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    forms = {"default": message.body, "https": json.dumps(message.chat)}
    with translate_errors("publish the notification"):
        client("sns").publish(
            TopicArn=topic_arn,
            Subject=message.subject,
            Message=json.dumps(forms),
            MessageStructure="json",
            MessageAttributes=attributes,
        )
