"""Where events go that could not be delivered."""

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.constructs.acknowledgements import acknowledge


class DeadLetterQueue(sqs.Queue):
    """Keeps undelivered events for two weeks, for someone to look at. They name buckets and keys, no data."""

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
            because="It is itself the dead-letter queue: of event rules, the schedule and functions",
        )
