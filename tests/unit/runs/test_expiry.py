"""When an endpoint has to go."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from finetuning.runs.expiry import (
    METRICS_DELAY,
    WARN_BEFORE,
    Deadline,
    Lifetime,
    deadline,
    deployed_at,
    deployed_tag,
    kept_until,
    lifetime_of,
    lifetime_tags,
)
from finetuning.runs.tags import IDLE_TAG, KEPT_TAG, TTL_TAG
from finetuning.settings import NEVER

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
STAGE = Lifetime(8, 60)


def expires(lifetime: Lifetime = STAGE, used: datetime = NOW, kept: datetime | None = None) -> Deadline | None:
    """When an endpoint that is deployed now expires."""
    return deadline(lifetime, NOW, used, kept)


def test_a_busy_endpoint_stays_until_its_time_is_over() -> None:
    found = expires(used=NOW + 7.9 * HOUR)
    assert found == Deadline(NOW + 8 * HOUR, "time to live of 8 h reached")


def test_an_idle_endpoint_expires_early_and_a_request_postpones_it() -> None:
    found = expires(used=NOW + HOUR)
    assert found
    assert found.at == NOW + 2 * HOUR + METRICS_DELAY
    assert found.postponed_by_use


def test_two_limits_of_never_are_no_deadline_and_one_leaves_the_other() -> None:
    assert expires(Lifetime(NEVER, NEVER)) is None
    idle_only, time_only = expires(Lifetime(NEVER, 60)), expires(Lifetime(8, NEVER))
    assert idle_only
    assert idle_only.postponed_by_use
    assert time_only == Deadline(NOW + 8 * HOUR, "time to live of 8 h reached")


def test_an_extended_endpoint_outlives_both_limits_until_its_new_time() -> None:
    kept = expires(kept=NOW + 20 * HOUR)
    assert kept
    assert kept.at == NOW + 20 * HOUR
    assert "kept until" in kept.reason


def test_an_extension_shortens_nothing() -> None:
    assert expires(Lifetime(8, NEVER), kept=NOW + HOUR) == expires(Lifetime(8, NEVER))


def test_an_endpoint_with_no_time_left_expires_at_once() -> None:
    found = expires(Lifetime(0, NEVER))
    assert found
    assert found.at == NOW


@pytest.mark.parametrize("hours", [1e-9, 1e300])
def test_no_limit_is_too_small_or_too_large(hours: float) -> None:
    assert expires(Lifetime(hours, NEVER))


def test_limits_survive_their_tags() -> None:
    for lifetime in (STAGE, Lifetime(NEVER, 15), Lifetime(0.001, NEVER)):
        tags = lifetime_tags(lifetime.ttl_hours, lifetime.idle_minutes)
        assert lifetime_of(tags, Lifetime(1, 1)) == (lifetime, [])


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "8 h"])
def test_tags_with_invalid_values_leave_the_stages_limits_and_are_named(text: str) -> None:
    assert lifetime_of({TTL_TAG: text, IDLE_TAG: "30"}, STAGE) == (Lifetime(8, 30), [TTL_TAG])


def test_missing_tags_leave_the_stages_limits() -> None:
    assert lifetime_of({}, STAGE) == (STAGE, [])


def test_the_ttl_counts_from_the_configuration_not_from_every_change() -> None:
    tags = deployed_tag("config-1", NOW)
    assert deployed_at(tags, "config-1", NOW + HOUR) == NOW
    assert deployed_at(tags, "config-2", NOW + HOUR) == NOW + HOUR
    assert deployed_at({}, "config-1", NOW + HOUR) == NOW + HOUR


@pytest.mark.parametrize(
    ("lifetime", "kept"), [(Lifetime(8, "never"), False), (Lifetime("never", 60), False), (Lifetime(8, 60), True)]
)
def test_a_deadline_is_in_utc_wherever_the_command_runs(lifetime: Lifetime, kept: bool) -> None:
    """boto3 gives times in the zone of the machine, anybody may write a tag, and messages say UTC."""
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    found = deadline(lifetime, there, there, there + timedelta(days=1) if kept else None)
    assert found
    assert found.at.tzinfo is UTC
    assert not kept or f"{NOW + timedelta(days=1):%Y-%m-%d %H:%M} UTC" in found.reason


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-01-01T12:00:00"])
def test_an_invalid_time_extends_nothing(text: str) -> None:
    assert kept_until({KEPT_TAG: text}) is None


def test_a_sweep_always_falls_into_the_warning_period() -> None:
    assert 2 * timedelta(minutes=15) <= WARN_BEFORE


def test_a_deadline_names_the_limit_it_comes_from() -> None:
    found = [
        expires(Lifetime(8, NEVER)),
        expires(Lifetime(NEVER, 60)),
        expires(Lifetime(8, NEVER), kept=NOW + 9 * HOUR),
    ]
    assert [("8 h" in each.reason, "60 minutes" in each.reason, "21:00" in each.reason) for each in found if each] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_an_extension_to_the_deadline_changes_nothing() -> None:
    assert expires(Lifetime(8, NEVER), kept=NOW + 8 * HOUR) == expires(Lifetime(8, NEVER))


def test_a_limit_of_zero_is_a_limit() -> None:
    assert lifetime_of({TTL_TAG: "0", IDLE_TAG: "0"}, STAGE) == (Lifetime(0, 0), [])


def test_an_endpoint_is_kept_until_the_time_in_its_tag_if_there_is_one() -> None:
    assert kept_until({KEPT_TAG: NOW.isoformat()}) == NOW
    assert kept_until({}) is None
