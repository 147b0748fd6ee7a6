"""An endpoint's state and expiry, for the sweeper and the command."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetuning.aws.cloudwatch import invocations
from finetuning.aws.sagemaker import SageMaker
from finetuning.operations.endpoint_updates import instances
from finetuning.runs.expiry import (
    METRICS_DELAY,
    WARN_BEFORE,
    Deadline,
    Lifetime,
    deadline,
    deployed_at,
    kept_until,
    lifetime_of,
)
from finetuning.runs.tags import RUN_TAG
from finetuning.settings import NEVER


@dataclass(frozen=True)
class EndpointState:
    """One endpoint. `unreadable`: tags with a malformed limit, for which the stage's limit holds.

    `deadline` is None if it does not expire.
    """

    name: str
    arn: str
    status: str
    config: str
    run_id: str
    tags: Mapping[str, str]
    created_at: datetime
    changed_at: datetime
    lifetime: Lifetime
    unreadable: list[str]
    deadline: Deadline | None
    instances: int


def endpoint_state(api: SageMaker, name: str, default: Lifetime, now: datetime) -> EndpointState | None:
    """The endpoint's state; None if it does not exist. Invocations are read only if they could postpone its expiry."""
    live = api.describe_endpoint(name)
    if live is None:
        return None
    tags = api.tags(live["EndpointArn"])
    lifetime, unreadable = lifetime_of(tags, default)
    config, changed = live["EndpointConfigName"], live["LastModifiedTime"]
    deployed = deployed_at(tags, config, changed)
    used = max(changed, deployed)
    if live["EndpointStatus"] == "InService":
        used = _last_used(name, lifetime, used, now)
    return EndpointState(
        name=name,
        arn=live["EndpointArn"],
        status=live["EndpointStatus"],
        config=config,
        run_id=tags.get(RUN_TAG, ""),
        tags=tags,
        created_at=live["CreationTime"],
        changed_at=changed,
        lifetime=lifetime,
        unreadable=unreadable,
        deadline=deadline(lifetime, deployed, used, kept_until(tags)),
        instances=instances(live),
    )


def _last_used(name: str, lifetime: Lifetime, began: datetime, now: datetime) -> datetime:
    """The last invocation, or when the endpoint came into service or was deployed again (`began`). Invocations are read
    only if they could matter.
    """
    if lifetime.idle_minutes == NEVER:
        return began
    window = timedelta(minutes=lifetime.idle_minutes) + METRICS_DELAY
    if now - began < window - WARN_BEFORE:
        return began
    calls = invocations(name, max(began, now - window), now)
    return max(began, calls[-1][0]) if calls else began
