"""SweepEndpoints over a SageMaker of a few endpoints."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.handlers import sweep_endpoints
from finetuning.handlers.step import logger
from finetuning.operations.imports import find_alias
from finetuning.runs.expiry import lifetime_tags
from finetuning.runs.status import RunState
from finetuning.runs.tags import IDLE_TAG, TTL_TAG
from finetuning.settings import settings
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke, log_lines, metric
from tests.builders.imports import imported_run, serve
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID

LIVE, BASE = f"{PREFIX}-{RUN_ID}", f"{PREFIX}-{RUN_ID}-base"
EIGHT_HOURS, HUNDRED_HOURS = lifetime_tags(8, "never"), lifetime_tags(100, 60)


def swept(period_minutes: float = 15) -> dict[str, list[str]]:
    result: dict[str, list[str]] = invoke(sweep_endpoints, period_minutes=period_minutes)
    return result


def used(cloud: FakeAws, minutes_ago: float) -> None:
    """Lets CloudWatch know of an invocation."""
    point = {"Timestamp": datetime.now(UTC) - timedelta(minutes=minutes_ago + 1), "Sum": 3.0}
    cloud["cloudwatch"].answers["get_metric_statistics"] = {"Datapoints": [point]}


@pytest.mark.parametrize(("hours_old", "deleted"), [(7, []), (8.1, [LIVE])])
def test_an_endpoint_is_deleted_after_its_time(
    cloud: FakeAws, memory: MemoryStore, hours_old: float, deleted: list[str]
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=hours_old, tags=EIGHT_HOURS)
    assert swept()["deleted"] == deleted
    assert cloud.sagemaker.names("endpoint") == {LIVE} - set(deleted)
    assert LIVE in cloud.sagemaker.names("model")


@pytest.mark.parametrize(("minutes_ago", "deleted"), [(20, []), (70, [LIVE])])
def test_an_endpoint_without_invocations_for_its_limit_is_deleted(
    cloud: FakeAws, memory: MemoryStore, minutes_ago: float, deleted: list[str]
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=5, tags=HUNDRED_HOURS)
    used(cloud, minutes_ago)
    assert swept()["deleted"] == deleted


def test_the_log_and_the_message_say_which_endpoint_was_deleted_and_why(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_run(memory)
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    cloud.sagemaker.add_endpoint(hours_old=9, tags=EIGHT_HOURS)
    swept()
    (line,) = [line for line in log_lines(log.getvalue()) if line["message"] == "Deleted an endpoint"]
    assert (line["endpoint"], line["run_id"]) == (LIVE, RUN_ID)
    assert "8 h" in line["reason"]
    (message,) = cloud.messages()
    assert LIVE in message
    assert line["reason"] in message


@pytest.mark.parametrize("owner", ["finetune-prod", "finetune-dev-2", None])
def test_an_endpoint_of_another_owner_is_never_deleted(cloud: FakeAws, memory: MemoryStore, owner: str | None) -> None:
    tags = EIGHT_HOURS | ({"finetune:created-by": owner} if owner else {})
    cloud.sagemaker.add_endpoint(run_id=None, hours_old=900, tags=tags)
    assert swept() == {"deleted": [], "announced": [], "removed": []}
    assert cloud.sagemaker.names("endpoint") == {LIVE}


@pytest.mark.parametrize("status", ["Creating", "Updating", "Deleting", "RollingBack"])
def test_an_endpoint_that_sagemaker_is_working_on_is_left_for_the_next_sweep(
    cloud: FakeAws, memory: MemoryStore, status: str
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=900, status=status, tags=EIGHT_HOURS)
    assert swept()["deleted"] == []


def test_an_endpoint_whose_end_is_near_is_announced_once(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=7.8, tags=EIGHT_HOURS)
    assert [swept()["announced"] for _ in range(3)] == [[LIVE], [], []]
    (message,) = cloud.messages()
    assert LIVE in message


def test_a_deadline_that_moved_is_announced_again(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=7.8, tags=EIGHT_HOURS)
    swept()
    cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:ttl-hours"] = "8.2"
    assert swept()["announced"] == [LIVE]


def test_an_announcement_is_noted_before_it_is_sent(cloud: FakeAws, memory: MemoryStore) -> None:
    """A message that is missing can be lived with; one every quarter of an hour cannot."""
    any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=7.8, tags=EIGHT_HOURS)
    cloud["sns"].refuse("publish", "InternalError")
    with pytest.raises(FineTuningError):
        swept()
    del cloud["sns"].answers["publish"]
    assert swept()["announced"] == []


@pytest.mark.parametrize(("ended", "deleted"), [(True, [BASE]), (False, [])])
def test_a_temporary_endpoint_is_deleted_once_its_run_has_ended(
    cloud: FakeAws, memory: MemoryStore, ended: bool, deleted: list[str]
) -> None:
    run = any_run(memory)
    if ended:
        run.record("Failed", state=RunState.FAILED)
    cloud.sagemaker.add_endpoint(BASE, BASE, tags=lifetime_tags(3, 180))
    used(cloud, minutes_ago=1)
    assert swept()["deleted"] == deleted


@pytest.mark.parametrize("name", [LIVE, BASE])
def test_an_endpoint_whose_run_has_no_files_left_ends_by_its_own_limits(
    cloud: FakeAws, memory: MemoryStore, name: str
) -> None:
    """Deleting a run's files does not delete its endpoint, unless the endpoint exists for the run alone."""
    cloud.sagemaker.add_endpoint(name, name, hours_old=2, tags=EIGHT_HOURS)
    assert swept()["deleted"] == ([BASE] if name == BASE else [])


def test_a_temporary_endpoint_of_a_run_that_goes_on_too_long_ends_by_its_own_limits(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(BASE, BASE, hours_old=4, tags=lifetime_tags(3, 180))
    assert swept()["deleted"] == [BASE]


def test_limits_that_cannot_be_read_are_replaced_by_the_stages(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    unreadable = {"finetune:ttl-hours": "soon", "finetune:idle-minutes": "never"}
    cloud.sagemaker.add_endpoint(hours_old=8.1, tags=unreadable)
    assert swept()["deleted"] == [LIVE]


def test_an_endpoints_time_begins_with_the_configuration_that_it_serves(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    endpoint = cloud.sagemaker.add_endpoint(hours_old=7, tags=EIGHT_HOURS)
    swept()
    endpoint["LastModifiedTime"] = hours_ago(0)  # as autoscaling changes it
    endpoint["CreationTime"] = hours_ago(9)
    tags = cloud.sagemaker.tags_of("endpoint", LIVE)
    tags["finetune:deployed-at"] = f"{LIVE} {hours_ago(8.1).isoformat()}"
    assert swept()["deleted"] == [LIVE]


def test_one_endpoint_that_fails_does_not_keep_the_others_and_is_reported_at_the_end(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(f"{PREFIX}-a", "a", hours_old=9, tags=EIGHT_HOURS)
    cloud.sagemaker.add_endpoint(f"{PREFIX}-b", "b", hours_old=9, tags=EIGHT_HOURS)

    def describe_endpoint(EndpointName: str) -> Any:  # noqa: N803  # boto3's names
        if EndpointName.endswith("-a"):
            raise ValueError("cannot be looked at")
        return cloud.sagemaker._answer("describe_endpoint", {"EndpointName": EndpointName})

    cloud.sagemaker.answers["describe_endpoint"] = describe_endpoint
    with pytest.raises(FineTuningError) as incomplete:
        swept()
    assert incomplete.value.code == Code.SWEEP_INCOMPLETE
    assert f"{PREFIX}-a: cannot be looked at" in incomplete.value.message
    assert cloud.sagemaker.names("endpoint") == {f"{PREFIX}-a"}


@pytest.mark.parametrize(
    ("hours_old", "period", "hours"), [(2, 15, 0.5), (0.1, 15, pytest.approx(0.2, abs=0.02)), (2, 0, None)]
)
def test_each_sweep_counts_the_instance_hours_since_the_last_and_their_price(
    cloud: FakeAws,
    memory: MemoryStore,
    capsys: pytest.CaptureFixture[str],
    hours_old: float,
    period: float,
    hours: Any,
) -> None:
    """Younger endpoints count from their creation, and a sweep by hand, which has no period, counts nothing."""
    run = any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=hours_old, instances=2, tags=EIGHT_HOURS)
    swept(period)
    output = capsys.readouterr().out
    assert metric(output, "EndpointHours") == hours
    if hours is not None:
        hourly = run.plan.endpoint.usd_per_hour or 0
        assert metric(output, "EndpointUsd") == pytest.approx(hourly * (metric(output, "EndpointHours") or 0))


def test_each_sweep_says_what_costs_money_now_and_until_when(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the endpoints that it leaves: one that has expired is deleted and counts no more."""
    run = any_run(memory)
    cloud.sagemaker.add_endpoint(hours_old=9, tags=EIGHT_HOURS)
    cloud.sagemaker.add_endpoint(f"{PREFIX}-one", "one", hours_old=5, instances=2, tags=EIGHT_HOURS)
    cloud.sagemaker.add_endpoint(f"{PREFIX}-two", "two", hours_old=1, tags=EIGHT_HOURS)
    assert swept()["deleted"] == [LIVE]
    output = capsys.readouterr().out
    assert metric(output, "EndpointsInService") == 2
    assert metric(output, "EndpointsUsdPerHour") == pytest.approx(3 * (run.plan.endpoint.usd_per_hour or 0))
    assert metric(output, "NextExpiryHours") == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize(
    ("status", "instances", "costs"),
    [("Updating", 2, True), ("SystemUpdating", 1, True), ("Failed", 0, False), ("Creating", 0, False)],
)
def test_what_has_instances_costs_money_whatever_sagemaker_does_with_it(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str], status: str, instances: int, costs: bool
) -> None:
    cloud.sagemaker.add_endpoint(status=status, instances=instances)
    swept()
    output = capsys.readouterr().out
    assert metric(output, "EndpointsInService") == int(costs)
    assert metric(output, "EndpointHours") == (instances / 4 if costs else None)


def test_where_nothing_serves_nothing_costs_and_nothing_expires(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    swept()
    output = capsys.readouterr().out
    assert (metric(output, "EndpointsInService"), metric(output, "EndpointsUsdPerHour")) == (0, 0)
    assert metric(output, "NextExpiryHours") is None


def test_models_and_configurations_of_runs_without_files_are_deleted_unless_they_serve(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(tags=EIGHT_HOURS)
    cloud.sagemaker.add_endpoint(f"{PREFIX}-faq", f"{PREFIX}-gone-00000001", "gone-00000001", tags=EIGHT_HOURS)
    for kind in ("endpoint_config", "model"):
        cloud.sagemaker.add(kind, f"{PREFIX}-gone-00000002", "gone-00000002")
        cloud.sagemaker.add(kind, f"{PREFIX}-theirs-00000003", None)
    assert set(swept()["removed"]) == {
        f"Deleted the configuration {PREFIX}-gone-00000002",
        f"Deleted the model {PREFIX}-gone-00000002",
    }
    serving = {LIVE, f"{PREFIX}-gone-00000001", f"{PREFIX}-theirs-00000003"}
    assert cloud.sagemaker.names("endpoint_config") == serving
    assert cloud.sagemaker.names("model") == serving


@pytest.fixture
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_IMPORT", "true")
    settings.cache_clear()


@pytest.mark.usefixtures("_imports")
def test_bedrock_that_does_not_answer_keeps_the_sweep_from_nothing_else(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.sagemaker.add("model", f"{PREFIX}-gone-00000002", "gone-00000002")
    cloud.bedrock.refuse("list_imported_models", "AccessDeniedException")
    with pytest.raises(FineTuningError, match="imported models: Access denied") as incomplete:
        swept()
    assert incomplete.value.code == Code.SWEEP_INCOMPLETE
    assert cloud.sagemaker.names("model") == set()
    output = capsys.readouterr().out
    assert (metric(output, "EndpointsInService"), metric(output, "ImportedModels")) == (0, None)


@pytest.mark.usefixtures("_imports")
def test_an_imported_model_expires_by_its_time_to_live_and_its_name_is_forgotten(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    imported_run(memory)
    arn = cloud.bedrock.add_model(tags={TTL_TAG: "2"}, hours_old=9)
    alias = serve(memory, f"{PREFIX}-faq", arn)
    assert alias.serving
    assert invoke(sweep_endpoints)["deleted"] == [f"{PREFIX}-faq"]
    assert cloud.bedrock.models == {}
    found = find_alias(memory, f"{PREFIX}-faq")
    assert found
    assert found.models == []
    (message,) = cloud.messages()
    assert "time to live of 2 h reached" in message


@pytest.mark.usefixtures("_imports")
def test_an_imported_model_is_announced_once_before_it_expires_and_never_for_want_of_requests(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    arn = cloud.bedrock.add_model(tags={TTL_TAG: "8", IDLE_TAG: "15"}, hours_old=7.8)
    serve(memory, f"{PREFIX}-faq", arn)
    assert invoke(sweep_endpoints)["announced"] == [f"{PREFIX}-faq"]
    assert invoke(sweep_endpoints)["announced"] == []
    assert arn in cloud.bedrock.models
    assert len(list(cloud.messages())) == 1


@pytest.mark.usefixtures("_imports")
def test_a_model_for_which_no_name_stands_is_left_to_the_sweep_of_runs(cloud: FakeAws, memory: MemoryStore) -> None:
    cloud.bedrock.add_model(tags={TTL_TAG: "2"}, hours_old=9)
    assert invoke(sweep_endpoints)["deleted"] == []
    assert len(cloud.bedrock.models) == 1


@pytest.mark.usefixtures("_imports")
def test_imported_models_are_counted_and_their_expiry_is_the_next(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    imported_run(memory)
    serve(memory, f"{PREFIX}-faq", cloud.bedrock.add_model(tags={TTL_TAG: "8"}, hours_old=2))
    swept()
    output = capsys.readouterr().out
    assert (metric(output, "ImportedModels"), metric(output, "EndpointsInService")) == (1, 0)
    assert metric(output, "NextExpiryHours") == pytest.approx(6, abs=0.02)
