"""An endpoint's alarms and invocations, as CloudWatch is asked for them."""

from datetime import UTC, datetime, timedelta

import pytest

from finetuning.aws.cloudwatch import MOST_POINTS, forget_endpoint, invocations, watch_endpoint
from finetuning.errors import FineTuningError
from finetuning.jumpstart.target import VARIANT
from finetuning.runs import guardrails
from tests.builders.aws import FakeAws

NAME = "finetune-dev-faq"
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_the_alarms_of_the_guardrails_are_set(cloud: FakeAws) -> None:
    watch_endpoint(NAME, "config", "arn:topic")
    assert cloud["cloudwatch"].requests("put_metric_alarm") == guardrails.alarms(NAME, "config", "arn:topic")


def test_all_alarms_of_a_deleted_endpoint_are_deleted(cloud: FakeAws) -> None:
    forget_endpoint(NAME)
    assert cloud["cloudwatch"].requests("delete_alarms") == [{"AlarmNames": guardrails.alarm_names(NAME)}]


@pytest.mark.parametrize("code", ["ResourceNotFound", "ResourceNotFoundException"])
def test_deleting_alarms_that_are_not_there_is_no_error(cloud: FakeAws, code: str) -> None:
    cloud["cloudwatch"].refuse("delete_alarms", code)
    forget_endpoint(NAME)
    assert cloud["cloudwatch"].requests("delete_alarms") == [{"AlarmNames": guardrails.alarm_names(NAME)}]


def test_alarms_that_may_not_be_deleted_are_an_error(cloud: FakeAws) -> None:
    cloud["cloudwatch"].refuse("delete_alarms", "AccessDeniedException")
    with pytest.raises(FineTuningError, match=NAME):
        forget_endpoint(NAME)


@pytest.mark.parametrize(
    ("back", "period"),
    [
        (timedelta(hours=1), 60),
        (timedelta(hours=23, minutes=59), 60),
        (timedelta(days=1), 300),
        (timedelta(days=4), 300),
        (timedelta(days=30), 3600),
        (timedelta(days=90), 3600),
    ],
)
def test_the_periods_are_as_fine_as_one_answer_allows(cloud: FakeAws, back: timedelta, period: int) -> None:
    invocations(NAME, NOON - back, NOON)
    (request,) = cloud["cloudwatch"].requests("get_metric_statistics")
    assert request["Period"] == period
    assert (NOON - request["StartTime"]).total_seconds() / period < MOST_POINTS
    dimensions = {each["Name"]: each["Value"] for each in request["Dimensions"]}
    assert dimensions == {"EndpointName": NAME, "VariantName": VARIANT}


def test_periods_with_invocations_come_in_their_order_by_their_end(cloud: FakeAws) -> None:
    minutes = [(5, 2.0), (1, 1.0), (3, 0.0)]
    points = [{"Timestamp": NOON + timedelta(minutes=minute), "Sum": total} for minute, total in minutes]
    cloud["cloudwatch"].answers["get_metric_statistics"] = {"Datapoints": points}
    found = invocations(NAME, NOON, NOON + timedelta(hours=1))
    assert found == [(NOON + timedelta(minutes=2), 1.0), (NOON + timedelta(minutes=6), 2.0)]
