"""Where an endpoint stands, from its description, its tags and its invocations."""

from datetime import UTC, datetime, timedelta

import pytest

from finetuning.aws.sagemaker import sagemaker
from finetuning.operations.endpoint_life import EndpointState, endpoint_state
from finetuning.runs.expiry import METRICS_DELAY, Lifetime, lifetime_tags
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.memory import PREFIX
from tests.builders.runs import RUN_ID

NAME = f"{PREFIX}-{RUN_ID}"
STAGE = Lifetime(ttl_hours=24, idle_minutes=60)


def state_of(name: str = NAME) -> EndpointState:
    found = endpoint_state(sagemaker(), name, STAGE, datetime.now(UTC))
    assert found is not None
    return found


def test_an_endpoint_that_is_gone_has_no_state(cloud: FakeAws) -> None:
    assert endpoint_state(sagemaker(), NAME, STAGE, datetime.now(UTC)) is None


def test_the_limits_are_those_of_its_tags(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(hours_old=3, instances=2, tags=lifetime_tags(8, "never"))
    state = state_of()
    assert (state.run_id, state.config, state.instances) == (RUN_ID, NAME, 2)
    assert state.lifetime == Lifetime(8, "never")
    assert state.deadline is not None
    assert state.deadline.at == state.changed_at + timedelta(hours=8)
    assert state.unreadable == []


def test_the_stages_limits_hold_where_tags_are_missing_or_cannot_be_read(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(tags={"finetune:ttl-hours": "soon"})
    state = state_of()
    assert state.lifetime == STAGE
    assert state.unreadable == ["finetune:ttl-hours"]


def test_an_endpoint_without_limits_does_not_expire(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(hours_old=900, tags=lifetime_tags("never", "never"))
    assert state_of().deadline is None


def test_the_last_invocation_puts_the_idle_limit_off(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(hours_old=5, tags=lifetime_tags("never", 60))
    last = datetime.now(UTC) - timedelta(minutes=20)
    points = [{"Timestamp": last - timedelta(minutes=1), "Sum": 1.0}]
    cloud["cloudwatch"].answers["get_metric_statistics"] = {"Datapoints": points}
    state = state_of()
    assert state.deadline is not None
    assert state.deadline.at == last + timedelta(minutes=60) + METRICS_DELAY


@pytest.mark.parametrize(
    ("hours_old", "status", "idle"), [(5, "InService", "never"), (0.2, "InService", 60), (5, "Failed", 60)]
)
def test_invocations_are_asked_for_only_where_they_could_matter(
    cloud: FakeAws, hours_old: float, status: str, idle: float
) -> None:
    cloud.sagemaker.add_endpoint(hours_old=hours_old, status=status, tags=lifetime_tags(24, idle))  # type: ignore[arg-type]
    state_of()
    assert not cloud["cloudwatch"].calls


def test_its_time_begins_with_the_configuration_it_serves_as_the_sweeper_noted(cloud: FakeAws) -> None:
    deployed = hours_ago(7).replace(microsecond=0)
    tags = lifetime_tags(8, "never") | {"finetune:deployed-at": f"{NAME} {deployed.isoformat()}"}
    cloud.sagemaker.add_endpoint(hours_old=1, tags=tags)
    state = state_of()
    assert state.deadline is not None
    assert state.deadline.at == deployed + timedelta(hours=8)


def test_an_endpoint_that_is_kept_does_not_expire_before(cloud: FakeAws) -> None:
    until = (datetime.now(UTC) + timedelta(hours=5)).replace(microsecond=0)
    cloud.sagemaker.add_endpoint(
        hours_old=7.5, tags=lifetime_tags(8, "never") | {"finetune:kept-until": until.isoformat()}
    )
    state = state_of()
    assert state.deadline is not None
    assert state.deadline.at == until


def test_a_state_describes_its_endpoint(cloud: FakeAws) -> None:
    described = cloud.sagemaker.add_endpoint(hours_old=3, status="Failed", tags={"team": "a"})
    state = state_of()
    assert (state.name, state.arn, state.status) == (NAME, described["EndpointArn"], "Failed")
    assert (state.created_at, state.changed_at) == (described["CreationTime"], described["LastModifiedTime"])
    assert state.tags["team"] == "a"


def test_an_endpoint_without_a_runs_tag_belongs_to_no_run(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(run_id=None)
    assert state_of().run_id == ""


@pytest.mark.parametrize(("minutes", "asked"), [(34, False), (36, True)])
def test_invocations_are_asked_for_from_the_warning_on(cloud: FakeAws, minutes: float, asked: bool) -> None:
    """60 minutes and 5 until metrics show, less the 30 of the warning."""
    cloud.sagemaker.add_endpoint(hours_old=minutes / 60, tags=lifetime_tags(24, 60))
    state_of()
    assert bool(cloud["cloudwatch"].calls) is asked


def test_invocations_are_read_of_the_endpoint_since_they_could_matter(cloud: FakeAws) -> None:
    cloud.sagemaker.add_endpoint(hours_old=5, tags=lifetime_tags(24, 60))
    now = datetime.now(UTC)
    endpoint_state(sagemaker(), NAME, STAGE, now)
    (request,) = cloud["cloudwatch"].requests("get_metric_statistics")
    assert (request["StartTime"], request["EndTime"]) == (now - timedelta(minutes=65), now)
    assert {"Name": "EndpointName", "Value": NAME} in request["Dimensions"]
