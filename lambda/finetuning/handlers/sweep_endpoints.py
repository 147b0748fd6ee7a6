"""Sweeper, on a schedule: announces and deletes endpoints past their time or that nobody uses. Never a tuned model.

It also counts what endpoints cost, for it is the one who sees them all for as long as they live. One endpoint that
cannot be looked at or deleted keeps no other from its end: what went wrong is told at the end.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from finetuning.aws.run_store import run_store
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.sns import notify
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, function, logger, measure, open_run
from finetuning.metrics import ProductMetric
from finetuning.operations.clean_up import remove_unused_models
from finetuning.operations.endpoint_life import EndpointState, endpoint_state
from finetuning.report.console_links import endpoints_link
from finetuning.report.messages import endpoint_deleted, endpoint_expires
from finetuning.runs.expiry import WARN_BEFORE, Deadline, Lifetime, deployed_tag
from finetuning.runs.names import Names
from finetuning.runs.outcomes import can_be_deleted
from finetuning.runs.tags import ANNOUNCED_TAG, DEPLOYED_TAG, OWNER_TAG
from finetuning.settings import settings


@function
def handler(event: Payload) -> Payload:
    """`{period_minutes}`, the time since the last sweep → `{deleted: [endpoint, …], announced: [endpoint, …],
    left_overs: [what was removed, …]}`. A sweep by hand has no period, and counts no cost.

    Raises `FineTuningError` (SWEEP_INCOMPLETE) after everything else was swept.
    """
    period = timedelta(minutes=float(event.get("period_minutes", 0)))
    done: dict[str, list[str]] = {"deleted": [], "announced": [], "left_overs": []}
    failures: list[str] = []

    def attempt(what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever one endpoint does, the others have their turn
            logger.exception("The sweep failed at one thing", extra={"at": what})
            failures.append(f"{what}: {error.message if isinstance(error, FineTuningError) else error}")

    for endpoint in list(sagemaker().endpoints(settings().prefix + "-")):
        name = endpoint["EndpointName"]
        attempt(name, lambda name=name: _sweep(name, period, done))  # type: ignore[misc]  # the default binds the loop's name
    attempt("left-overs", lambda: done["left_overs"].extend(remove_unused_models(sagemaker(), run_store())))
    if failures:
        raise FineTuningError(
            Code.SWEEP_INCOMPLETE,
            f"The sweep could not do all of its work: {'; '.join(failures)}",
            "The next sweep tries again. If it says the same, look at the endpoint and delete it by hand.",
        )
    return done


def _sweep(name: str, period: timedelta, done: dict[str, list[str]]) -> None:
    stage, now = settings(), datetime.now(UTC)
    default = Lifetime(stage.endpoint_ttl_hours, stage.endpoint_idle_minutes)
    found = endpoint_state(sagemaker(), name, default, now)
    if found is None or found.tags.get(OWNER_TAG) != stage.prefix or not can_be_deleted(found.status):
        return
    if period:
        _count_cost(found, min(period, now - found.created_at))
    if found.unreadable:
        logger.warning("Tags that cannot be read; the stage's limits hold", extra={"tags": found.unreadable})
    if Names(stage.prefix, found.run_id).is_temporary(name):
        _sweep_temporary(found, now, done)
        return
    if not found.tags.get(DEPLOYED_TAG, "").startswith(found.config + " "):
        sagemaker().tag_endpoint(name, deployed_tag(found.config, found.changed_at))
    if found.deadline is None:
        return
    if found.deadline.at <= now:
        _delete(found, found.deadline.reason, done)
    elif found.deadline.at - now <= WARN_BEFORE and found.tags.get(ANNOUNCED_TAG) != found.deadline.tag:
        _announce(found, found.deadline)
        done["announced"].append(name)


def _sweep_temporary(found: EndpointState, now: datetime, done: dict[str, list[str]]) -> None:
    """An endpoint for the length of an evaluation: of no use once its run has ended, and nobody has to be warned."""
    status = open_run(found.run_id, __name__).find_status()
    if status is None or status.state.is_final:
        _delete(found, "the run that it was made for has ended", done)
    elif found.deadline and found.deadline.at <= now:
        _delete(found, found.deadline.reason, done)


def _delete(found: EndpointState, reason: str, done: dict[str, list[str]]) -> None:
    if not sagemaker().delete_endpoint(found.name):
        return
    logger.info("Deleted an endpoint", extra={"endpoint": found.name, "run_id": found.run_id, "reason": reason})
    done["deleted"].append(found.name)
    stage = settings()
    console = endpoints_link(stage.aws_region)
    notify(stage.topic_arn, endpoint_deleted(found.name, found.run_id, reason, stage=stage.stage, console=console))


def _announce(found: EndpointState, deadline: Deadline) -> None:
    """First the tag: a message that is missing can be lived with, one every quarter of an hour cannot."""
    stage = settings()
    sagemaker().tag_endpoint(found.name, {ANNOUNCED_TAG: deadline.tag})
    notify(stage.topic_arn, endpoint_expires(found.name, deadline, stage=stage.stage))


def _count_cost(found: EndpointState, served: timedelta) -> None:
    """Instance-hours since the last sweep, and their price by the plan of the run that the endpoint serves."""
    plan = open_run(found.run_id, __name__).find_plan()
    price = plan.endpoint.usd_per_hour if plan else None
    hours = round(found.instances * served.total_seconds() / 3600, 4)
    usd = None if price is None else round(hours * price, 4)
    measure({ProductMetric.ENDPOINT_HOURS: hours, ProductMetric.ENDPOINT_USD: usd})
    logger.info(
        "An endpoint serves",
        extra={
            "endpoint": found.name,
            "run_id": found.run_id,
            "instance_type": plan.endpoint.instance_type if plan else None,
            "instance_hours": hours,
            "usd": usd,
        },
    )
