"""The alarms of an endpoint, and how it is updated: SageMaker's deployment guardrails.

An update is blue/green. SageMaker starts a new fleet, moves the traffic to it, watches the alarms for the baking time,
and rolls back to the old fleet if one of them fires.
"""

from typing import Any

from finetuning.jumpstart.target import VARIANT

Request = dict[str, Any]

BAKING_SECONDS = 300
"""How long the new fleet, or its canary, is watched before the next step. The alarms below fire within 3 minutes."""

ROLLBACK_SECONDS = 1800
"""Time allowed for an update in addition to starting its fleet: baking, and a rollback."""

LONGEST_UPDATE_SECONDS = 28_800
"""SageMaker's maximum for `MaximumExecutionTimeoutInSeconds`; its minimum is 600."""

_ALARMS = {
    # Metric, threshold, description. The average of an error metric is a rate: 1 for an error, 0 for any other request.
    "server-errors": ("Invocation5XXErrors", 0.05, "More than 5 % of the invocations end in a server error"),
    # It also counts invalid requests of the caller, so that only a high rate shows that the model is broken.
    "model-errors": ("InvocationModelErrors", 0.5, "More than half of the invocations get no response from the model"),
    "latency": ("ModelLatency", 45_000_000, "Responses take more than 45 s on average; SageMaker times out after 60 s"),
}


def alarm_names(endpoint: str) -> list[str]:
    return [f"{endpoint}-{name}" for name in _ALARMS]


def alarms(endpoint: str, config: str | None, topic_arn: str) -> list[Request]:
    """PutMetricAlarm requests for an endpoint. ModelLatency is in microseconds.

    With a configuration's name only the fleet of that configuration is watched: errors of the old fleet must not roll
    back an update that fixes them. SageMaker publishes that dimension after the first update; until then `config` is
    None, and the whole endpoint is watched.
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
    """UpdateEndpoint's `DeploymentConfig`: first a canary of one instance, if the new fleet has more than one.

    SageMaker limits a canary to half of the fleet, so a fleet of one receives all traffic at once.
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
