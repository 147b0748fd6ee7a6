"""What guards an endpoint while it is updated and while it serves: SageMaker's deployment guardrails.

An update is blue/green. SageMaker starts a new fleet, moves the traffic to it, watches the alarms for the baking time
and goes back to the old fleet where one of them trips.
"""

from typing import Any

from finetuning.jumpstart.requests import VARIANT

Request = dict[str, Any]

BAKING_SECONDS = 300
"""How long the new fleet, or its canary, is watched before the next step. An alarm below trips within three minutes."""

ROLLBACK_SECONDS = 1800
"""What an update may take besides bringing up its fleet: baking, and going back."""

LONGEST_UPDATE_SECONDS = 28_800
"""SageMaker's own limit for `MaximumExecutionTimeoutInSeconds`; the least is 600."""

_ALARMS = {
    # Metric, threshold, what it means. An average is a share: SageMaker sends 1 for an error, 0 for each other call.
    "server-errors": ("Invocation5XXErrors", 0.05, "More than 1 in 20 calls end in a server error"),
    # Counts a caller's mistakes, too: most calls must fail before the model is to blame.
    "model-errors": ("InvocationModelErrors", 0.5, "More than half of the calls get no answer from the model"),
    "latency": ("ModelLatency", 45_000_000, "Answers take 45 s on average; SageMaker gives up after 60"),
}


def alarm_names(endpoint: str) -> list[str]:
    return [f"{endpoint}-{name}" for name in _ALARMS]


def alarms(endpoint: str, config: str | None, topic_arn: str) -> list[Request]:
    """PutMetricAlarm requests of an endpoint. ModelLatency is in microseconds.

    With a configuration's name only the fleet of that configuration is watched: errors of the old fleet must not stop
    an update that mends them. SageMaker publishes that dimension from an update on; an endpoint that was never updated
    is watched as a whole.
    """
    dimensions = {"EndpointName": endpoint, "VariantName": VARIANT}
    dimensions |= {"EndpointConfigName": config} if config else {}
    return [
        {
            "AlarmName": f"{endpoint}-{name}",
            "AlarmDescription": meaning,
            "Namespace": "AWS/SageMaker",
            "MetricName": metric,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": [topic_arn],
        }
        for name, (metric, threshold, meaning) in _ALARMS.items()
    ]


def deployment_config(endpoint: str, instance_count: int, timeout_seconds: int) -> Request:
    """UpdateEndpoint's `DeploymentConfig`: a canary of one instance first where the new fleet has more than one.

    SageMaker allows a canary at most half of the fleet, so that a fleet of one takes all traffic at once.
    """
    routing: Request = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": BAKING_SECONDS}
    if instance_count > 1:
        routing |= {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": 0,
            "MaximumExecutionTimeoutInSeconds": min(timeout_seconds, LONGEST_UPDATE_SECONDS),
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarm_names(endpoint)]},
    }
