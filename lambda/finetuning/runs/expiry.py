"""When an endpoint expires, so that a forgotten one does not cost money for long.

The endpoint's tags hold its limits, and what the sweeper has to remember from one sweep to the next.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from finetuning.runs.tags import DEPLOYED_TAG, IDLE_TAG, KEPT_TAG, TTL_TAG
from finetuning.settings import NEVER, SWEEP_MINUTES, Limit

WARN_BEFORE = timedelta(minutes=2 * SWEEP_MINUTES)
"""Two sweeps, so that at least one falls into it: every expiry is announced, unless the whole lifetime is shorter."""

METRICS_DELAY = timedelta(minutes=5)
"""Invocations appear in CloudWatch some minutes later. Assumed: SageMaker publishes them every minute; AWS states no
delay."""


@dataclass(frozen=True)
class Lifetime:
    """An endpoint's two limits."""

    ttl_hours: Limit
    idle_minutes: Limit

    @property
    def in_words(self) -> str:
        """A predicate: "expires after 8 h or after 60 minutes without requests"."""
        limits = [] if self.ttl_hours == NEVER else [f"after {self.ttl_hours:g} h"]
        limits += [] if self.idle_minutes == NEVER else [f"after {self.idle_minutes:g} minutes without requests"]
        return f"expires {' or '.join(limits)}" if limits else "does not expire"

    @property
    def until(self) -> str:
        """What follows "until": "8 h have passed, or 60 minutes without requests"."""
        idle = "" if self.idle_minutes == NEVER else f"{self.idle_minutes:g} minutes without requests"
        if self.ttl_hours == NEVER:
            return f"{idle} have passed" if idle else "you delete the endpoint"
        return f"{self.ttl_hours:g} h have passed" + (f", or {idle}" if idle else "")


@dataclass(frozen=True)
class Deadline:
    """When an endpoint expires, and why. `postponed_by_use`: a request before then postpones it."""

    at: datetime
    reason: str
    postponed_by_use: bool = False

    @property
    def tag(self) -> str:
        return self.at.isoformat(timespec="minutes")


def lifetime_tags(ttl_hours: Limit, idle_minutes: Limit) -> dict[str, str]:
    """The tags by which the sweeper knows an endpoint's limits."""
    return {TTL_TAG: _written(ttl_hours), IDLE_TAG: _written(idle_minutes)}


def lifetime_of(tags: Mapping[str, str], default: Lifetime) -> tuple[Lifetime, list[str]]:
    """The limits in the tags, and the tags that cannot be read. Those and missing ones have the default limit."""
    ttl, idle = _limit(tags.get(TTL_TAG)), _limit(tags.get(IDLE_TAG))
    unreadable = [tag for tag, limit in ((TTL_TAG, ttl), (IDLE_TAG, idle)) if limit is None and tag in tags]
    return Lifetime(
        default.ttl_hours if ttl is None else ttl, default.idle_minutes if idle is None else idle
    ), unreadable


def deployed_at(tags: Mapping[str, str], config: str, changed_at: datetime) -> datetime:
    """Since when the endpoint serves this configuration, or was deployed again with it. Other changes (autoscaling) do
    not restart its lifetime.
    """
    known, _, time = tags.get(DEPLOYED_TAG, "").partition(" ")
    return (_time(time) if known == config else None) or changed_at


def deployed_tag(config: str, at: datetime) -> dict[str, str]:
    return {DEPLOYED_TAG: f"{config} {at.isoformat(timespec='seconds')}"}


def kept_until(tags: Mapping[str, str]) -> datetime | None:
    return _time(tags.get(KEPT_TAG, ""))


def deadline(lifetime: Lifetime, deployed: datetime, used: datetime, kept: datetime | None) -> Deadline | None:
    """The limit that is reached first, in UTC; None if the endpoint does not expire.

    `used` is the time of the last invocation, or of its deployment. No endpoint expires before `kept`.
    """
    deployed, used = deployed.astimezone(UTC), used.astimezone(UTC)  # boto3's times are in the machine's zone
    kept = kept and kept.astimezone(UTC)
    found = []
    if lifetime.ttl_hours != NEVER:
        found.append(
            Deadline(deployed + _hours(lifetime.ttl_hours), f"time to live of {lifetime.ttl_hours:g} h reached")
        )
    if lifetime.idle_minutes != NEVER:
        idle = _hours(lifetime.idle_minutes / 60)
        reason = f"no requests for {lifetime.idle_minutes:g} minutes"
        found.append(Deadline(used + idle + METRICS_DELAY, reason, postponed_by_use=True))
    if kept:
        found = [each if each.at >= kept else Deadline(kept, f"kept until {kept:%Y-%m-%d %H:%M} UTC") for each in found]
    return min(found, key=lambda each: each.at, default=None)


def _hours(hours: float) -> timedelta:
    """At most a century: `datetime` ends with the year 9999."""
    return timedelta(hours=min(hours, 876_000))


def _written(limit: Limit) -> str:
    return limit if limit == NEVER else f"{limit:g}"


def _limit(text: str | None) -> Limit | None:
    """None for a text that is no limit: anybody may change a tag."""
    if text == NEVER:
        return NEVER
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number >= 0 and math.isfinite(number) else None


def _time(text: str) -> datetime | None:
    """None for a text that is no time with a zone: anybody may change a tag."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None
