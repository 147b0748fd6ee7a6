"""How events are delivered: retried for hours, then kept in the dead-letter queue."""

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from finetuning_cdk.constructs.acknowledgements import acknowledge

MAX_EVENT_AGE = Duration.hours(6)
MAX_RETRIES = 20
"""What a rule's target retries before EventBridge gives up."""


class DeadLetterQueue(sqs.Queue):
    """Keeps undelivered events and failed asynchronous calls for two weeks. They name buckets and keys, and hold no
    data.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(
            scope,
            id,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        acknowledge(
            self,
            "AwsSolutions-SQS3",
            "Serverless-SQSRedrivePolicy",
            because="It is itself the dead-letter queue: of event rules, the schedules and functions",
        )
