"""When an endpoint has to go: nobody should find a bill for one that was forgotten."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

TTL_TAG, IDLE_TAG = "finetune:ttl-hours", "finetune:idle-minutes"


def lifetime_tags(ttl_hours: float, idle_minutes: float) -> dict[str, str]:
    """What an endpoint is tagged with, for the sweeper to read."""
    return {TTL_TAG: f"{ttl_hours:g}", IDLE_TAG: f"{idle_minutes:g}"}


def reason_to_delete(
    tags: Mapping[str, str],
    serving_since: datetime,
    now: datetime,
    invocations_since: Callable[[datetime], float],
    *,
    default_ttl_hours: float,
    default_idle_minutes: float,
) -> str | None:
    """Why the endpoint is to be deleted now, or None where it may stay.

    The run's own limits are in its tags; the stage's hold where a tag is missing. `serving_since` is the last change of
    the endpoint: an update starts its life anew. `invocations_since(time)` is asked only when it matters.
    """
    ttl = timedelta(hours=float(tags.get(TTL_TAG, default_ttl_hours)))
    idle = timedelta(minutes=float(tags.get(IDLE_TAG, default_idle_minutes)))
    if now - serving_since >= ttl:
        return f"its time is over: {ttl.total_seconds() / 3600:g} h after it was deployed"
    if now - serving_since >= idle and invocations_since(now - idle) == 0:
        return f"nobody asked it anything for {idle.total_seconds() / 60:g} minutes"
    return None
