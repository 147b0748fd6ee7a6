"""What CloudWatch knows of an endpoint's use."""

from datetime import datetime, timedelta

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors

VARIANT_NAME = "AllTraffic"
PERIODS = (60, 300, 3600)
"""Seconds. CloudWatch keeps points of a minute for 15 days, of five for 63, of an hour for 15 months."""
MOST_POINTS = 1440
"""Of one GetMetricStatistics answer."""


def invocations(endpoint: str, since: datetime, until: datetime) -> list[tuple[datetime, float]]:
    """`(end of a period, calls in it)` for the periods with calls, in their order. No data point means no call.

    Periods are minutes for a day, five minutes for five, hours beyond that: at most sixty days back.
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
                {"Name": "VariantName", "Value": VARIANT_NAME},
            ],
            StartTime=since,
            EndTime=until,
            Period=period,
            Statistics=["Sum"],
        )["Datapoints"]
    return sorted((point["Timestamp"] + timedelta(seconds=period), point["Sum"]) for point in points if point["Sum"])
