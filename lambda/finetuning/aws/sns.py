"""Notifications to the team on the stage's SNS topic."""

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.report.messages import Message


def notify(topic_arn: str, message: Message) -> None:
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
    with translate_errors("publish the notification"):
        client("sns").publish(
            TopicArn=topic_arn, Subject=message.subject, Message=message.body, MessageAttributes=attributes
        )
