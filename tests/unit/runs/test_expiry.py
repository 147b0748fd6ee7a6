"""When an endpoint has to go."""

from datetime import UTC, datetime, timedelta

import pytest

from finetuning.runs.expiry import reason_to_delete

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def reason(age: timedelta, invocations: float = 1.0, tags: dict[str, str] | None = None) -> str | None:
    return reason_to_delete(
        tags or {}, NOW - age, NOW, lambda since: invocations, default_ttl_hours=8, default_idle_minutes=60
    )


def test_a_busy_endpoint_stays_until_its_time_is_over() -> None:
    assert reason(7 * HOUR) is None
    assert "8 h after" in (reason(8 * HOUR) or "")


def test_an_idle_endpoint_goes_early_but_not_before_it_could_be_used() -> None:
    assert reason(HOUR / 2, invocations=0) is None
    assert "60 minutes" in (reason(2 * HOUR, invocations=0) or "")


def test_the_runs_own_limits_win_over_the_stages() -> None:
    assert reason(9 * HOUR, tags={"finetune:ttl-hours": "24", "finetune:idle-minutes": "600"}) is None


def test_an_endpoint_with_no_time_left_goes_at_once() -> None:
    assert reason(timedelta(0), tags={"finetune:ttl-hours": "0"})


def test_a_young_endpoints_invocations_are_not_asked_for() -> None:
    def never(since: datetime) -> float:
        pytest.fail("asked CloudWatch without need")

    assert reason_to_delete({}, NOW, NOW, never, default_ttl_hours=8, default_idle_minutes=60) is None
