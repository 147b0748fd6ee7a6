"""What the team hears: one message a run, on the stage's SNS topic."""

from finetuning.aws.clients import client
from finetuning.aws.faults import explained

MAX_SUBJECT = 100
"""SNS's limit on an e-mail's subject, in characters."""


def notify(topic_arn: str, subject: str, message: str) -> None:
    """Publishes; a subject longer than SNS takes is cut."""
    with explained("publish the notification"):
        client("sns").publish(TopicArn=topic_arn, Subject=subject[:MAX_SUBJECT], Message=message)
