"""The messages to the team: a queue that subscribes to the stage's topic."""

import json
from dataclasses import dataclass, field

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
