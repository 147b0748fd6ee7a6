"""An endpoint's alarms and invocations in CloudWatch."""

from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.jumpstart.target import VARIANT
from finetuning.runs import guardrails

PERIODS = (60, 300, 3600)
"""In seconds. CloudWatch keeps points of a minute for 15 days, of 5 minutes for 63 days, of an hour for 455."""
MOST_POINTS = 1440
"""The limit of one GetMetricStatistics response."""


def watch_endpoint(endpoint: str, config: str | None, topic_arn: str) -> None:
    """Sets the endpoint's alarms, replacing earlier ones. For `config` see `guardrails.alarms`."""
    with translate_errors(f"set the alarms of {endpoint}"):
        for request in guardrails.alarms(endpoint, config, topic_arn):
            client("cloudwatch").put_metric_alarm(**request)


def forget_endpoint(endpoint: str) -> None:
    """Deletes the endpoint's alarms, if there are any."""
    with translate_errors(f"delete the alarms of {endpoint}"):
        try:
            client("cloudwatch").delete_alarms(AlarmNames=guardrails.alarm_names(endpoint))
        except ClientError as error:
            if error_code(error) not in ("ResourceNotFound", "ResourceNotFoundException"):
                raise


def invocations(endpoint: str, since: datetime, until: datetime) -> list[tuple[datetime, float]]:
    """`(end of a period, invocations in it)` for the periods with invocations, oldest first.

    A period is 1 minute up to a day, 5 minutes up to 5 days, then an hour; at most 60 days are read.
    """
    seconds = (until - since).total_seconds()
    period = next((each for each in PERIODS if seconds / each < MOST_POINTS), PERIODS[-1])
    since = max(since, until - timedelta(seconds=period * (MOST_POINTS - 1)))
    with translate_errors(f"read the invocations of {endpoint}"):
        points = client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": VARIANT},
            ],
            StartTime=since,
            EndTime=until,
            Period=period,
            Statistics=["Sum"],
        )["Datapoints"]
    return sorted((point["Timestamp"] + timedelta(seconds=period), point["Sum"]) for point in points if point["Sum"])
