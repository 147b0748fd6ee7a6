"""What others get to know of a stage: the messages to the team, and events, each by a queue that subscribes to them."""

import json
from dataclasses import dataclass, field
from typing import Any

from rehearsal.running import Emulator
from tests.rehearsal.support.stacks import allow, any_name


@dataclass
class Mailbox:
    """Every message since it was opened, read from its queue as they are asked for."""

    emulator: Emulator
    queue: str
    read: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, emulator: Emulator) -> "Mailbox":
        sns, sqs = emulator.client("sns"), emulator.client("sqs")
        (topic,) = [topic["TopicArn"] for topic in sns.list_topics()["Topics"] if "finetune-" in topic["TopicArn"]]
        send = allow("sqs:SendMessage") | {"Principal": {"Service": "sns.amazonaws.com"}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [send]})
        queue = sqs.create_queue(QueueName=any_name("mailbox"), Attributes={"Policy": policy})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return cls(emulator, queue)

    def about(self, run_id: str) -> list[str]:
        """Subject and text of the messages that name the run."""
        sqs = self.emulator.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                notification = json.loads(message["Body"])
                self.read.append(f"{notification.get('Subject')}\n{notification['Message']}")
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [text for text in self.read if run_id in text]


@dataclass
class EventQueue:
    """Every event on the default bus that matches a pattern, since it was opened."""

    emulator: Emulator
    queue: str
    read: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, emulator: Emulator, pattern: dict[str, Any], **target: Any) -> "EventQueue":
        """`target`: further settings of the rule's target."""
        sqs, events, rule = emulator.client("sqs"), emulator.client("events"), any_name("rule")
        queue = sqs.create_queue(QueueName=any_name("queue"))["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn, **target}])
        return cls(emulator, queue)

    def bodies(self) -> list[str]:
        """The messages so far: each is an event as JSON, unless the target transforms it."""
        sqs = self.emulator.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.read.append(message["Body"])
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return self.read

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies()]
