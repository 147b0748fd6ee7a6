"""Alarms and deployment guardrails, as requests."""

from typing import Any

import botocore.session
import pytest

from finetuning.jumpstart.constraints import violations
from finetuning.jumpstart.target import VARIANT
from finetuning.runs.guardrails import alarm_names, alarms, deployment_config
from tests.builders.jumpstart import sagemaker_model

TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"


def dimensions(request: dict[str, Any]) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in request["Dimensions"]}


@pytest.mark.parametrize("config", [None, "the-config"])
def test_alarms_are_valid_for_cloudwatch_and_notify_the_topic(config: str | None) -> None:
    shape = botocore.session.get_session().get_service_model("cloudwatch").operation_model("PutMetricAlarm").input_shape
    requests = alarms("the-endpoint", config, TOPIC)
    assert [list(violations(shape, request)) for request in requests] == [[], [], []]
    assert [request["AlarmName"] for request in requests] == alarm_names("the-endpoint")
    assert all(request["AlarmActions"] == [TOPIC] for request in requests)


def test_an_update_is_judged_by_the_new_fleet_alone() -> None:
    assert all(dimensions(r).get("EndpointConfigName") == "new" for r in alarms("the-endpoint", "new", TOPIC))
    assert not any("EndpointConfigName" in dimensions(r) for r in alarms("the-endpoint", None, TOPIC))


def test_an_alarm_can_trip_while_the_new_fleet_is_watched() -> None:
    watched = deployment_config("e", 1, 3600)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    for request in alarms("e", "new", TOPIC):
        assert request["Period"] * request["EvaluationPeriods"] <= watched["WaitIntervalInSeconds"]


@pytest.mark.parametrize("instances", [1, 2, 3, 100])
def test_a_canary_is_at_most_half_of_the_fleet_and_one_instance_has_none(instances: int) -> None:
    routing = deployment_config("e", instances, 3600)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    if instances == 1:
        assert routing["Type"] == "ALL_AT_ONCE"
    else:
        assert routing["Type"] == "CANARY"
        assert routing["CanarySize"]["Value"] <= instances / 2


@pytest.mark.parametrize("seconds", [1800, 100_000])
def test_an_update_is_valid_for_sagemaker_and_rolls_back_on_every_alarm(seconds: int) -> None:
    config = deployment_config("e", 2, seconds)
    request = {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": config}
    assert list(violations(sagemaker_model().operation_model("UpdateEndpoint").input_shape, request)) == []
    assert [alarm["AlarmName"] for alarm in config["AutoRollbackConfiguration"]["Alarms"]] == alarm_names("e")


def test_an_alarm_trips_when_two_of_three_minutes_are_over_the_threshold() -> None:
    (errors, *_) = alarms("the-endpoint", "new", TOPIC)
    assert errors.pop("AlarmDescription")
    assert errors == {
        "AlarmName": "the-endpoint-server-errors",
        "Namespace": "AWS/SageMaker",
        "MetricName": "Invocation5XXErrors",
        "Dimensions": [
            {"Name": "EndpointName", "Value": "the-endpoint"},
            {"Name": "VariantName", "Value": VARIANT},
            {"Name": "EndpointConfigName", "Value": "new"},
        ],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 0.05,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        "AlarmActions": [TOPIC],
    }


def test_the_old_fleet_ends_as_soon_as_the_new_one_has_been_watched() -> None:
    assert deployment_config("e", 1, 3600)["BlueGreenUpdatePolicy"] == {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300},
        "TerminationWaitInSeconds": 0,
        "MaximumExecutionTimeoutInSeconds": 3600,
    }
