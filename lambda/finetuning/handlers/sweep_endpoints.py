"""SweepEndpoints, on a schedule: announces and deletes endpoints that have expired. It never deletes a tuned model of a
run that has files left.

It also measures what endpoints cost, because it sees them all during their whole life. An error with one endpoint does
not keep it from the others; errors are raised together at the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from finetuning.aws.bedrock import bedrock
from finetuning.aws.run_store import run_store
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.sns import notify
from finetuning.handlers.step import Payload, function, logger, measure, open_run
from finetuning.metrics import ProductMetric
from finetuning.operations.clean_up import remove_unused_models
from finetuning.operations.endpoint_life import EndpointState, endpoint_state
from finetuning.operations.import_life import ImportState, import_states
from finetuning.operations.imports import forget_model
from finetuning.operations.sweep import Sweep
from finetuning.report.console_links import endpoints_link, imported_models_link
from finetuning.report.messages import endpoint_deleted, endpoint_expires
from finetuning.runs.expiry import WARN_BEFORE, Deadline, Lifetime, deployed_tag
from finetuning.runs.names import Names
from finetuning.runs.outcomes import can_be_deleted
from finetuning.runs.tags import ANNOUNCED_TAG, DEPLOYED_TAG, OWNER_TAG
from finetuning.settings import settings


@function
def handler(event: Payload) -> Payload:
    """`{period_minutes}`, the time since the last sweep → `{deleted: [endpoint, …], announced: [endpoint, …],
    removed: [line, …]}`. Without a period, as in a sweep by hand, no cost is measured.

    Raises `FineTuningError` (SWEEP_INCOMPLETE) after everything else has been swept.
    """
    period = timedelta(minutes=float(event.get("period_minutes", 0)))
    sweep, in_service = Sweep("deleted", "announced", "removed"), list[InService]()
    for endpoint in list(sagemaker().endpoints(settings().prefix + "-")):
        name = endpoint["EndpointName"]
        sweep.attempt(name, partial(_sweep, name, period, sweep.done, in_service))
    imported = list[ImportState]()
    if are_known := settings().bedrock_import:
        are_known = sweep.attempt("imported models", lambda: imported.extend(_imported()))
    for found in imported:
        sweep.attempt(found.known_as, partial(_sweep_import, found, sweep.done))
    if period:
        deleted = sweep.done["deleted"]
        _measure_now(
            [each for each in in_service if each.state.name not in deleted],
            [each for each in imported if each.known_as not in deleted] if are_known else None,
        )
    sweep.attempt("unused models", lambda: sweep.add("removed", remove_unused_models(sagemaker(), run_store())))
    sweep.require_complete()
    return sweep.done


@dataclass(frozen=True)
class InService:
    """An endpoint that serves, and the price of one of its instances by the plan of its run, if that is known."""

    state: EndpointState
    usd_per_hour: float | None


def _imported() -> Iterator[ImportState]:
    default = Lifetime(settings().endpoint_ttl_hours, settings().endpoint_idle_minutes)
    return import_states(bedrock(), run_store(), settings().prefix, default)


def _measure_now(endpoints: Sequence[InService], imported: Sequence[ImportState] | None) -> None:
    """Measures what costs money from now on, until an endpoint or model is deleted. Unknown prices are left out, and
    those of imported models: they depend on who asks. `imported`: None if it is not known which there are.
    """
    now = datetime.now(UTC)
    deadlines = [each.state.deadline for each in endpoints]
    deadlines += [each.deadline for each in imported or [] if each.serving]
    expiries = [each.at for each in deadlines if each]
    measure(
        {
            ProductMetric.ENDPOINTS_IN_SERVICE: len(endpoints),
            ProductMetric.IMPORTED_MODELS: None if imported is None else len(imported),
            ProductMetric.ENDPOINTS_USD_PER_HOUR: round(
                sum(each.state.instances * (each.usd_per_hour or 0) for each in endpoints), 2
            ),
            ProductMetric.NEXT_EXPIRY_HOURS: (
                round((min(expiries) - now).total_seconds() / 3600, 2) if expiries else None
            ),
        }
    )


def _sweep(name: str, period: timedelta, done: dict[str, list[str]], in_service: list[InService]) -> None:
    stage, now = settings(), datetime.now(UTC)
    default = Lifetime(stage.endpoint_ttl_hours, stage.endpoint_idle_minutes)
    found = endpoint_state(sagemaker(), name, default, now)
    if found is None or found.tags.get(OWNER_TAG) != stage.prefix:
        return
    if period and found.instances:  # those of an endpoint that is updated are billed as well
        in_service.append(_count_cost(found, min(period, now - found.created_at)))
    if not can_be_deleted(found.status):
        return
    if found.unreadable:
        logger.warning("Malformed tags; the limits of the stage are used", extra={"tags": found.unreadable})
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


def _sweep_import(found: ImportState, done: dict[str, list[str]]) -> None:
    """An imported model expires by its time to live alone. One for which no name stands is left to the sweep of runs,
    which knows whether its run goes on.
    """
    stage, now = settings(), datetime.now(UTC)
    if found.unreadable:
        logger.warning("Malformed tags; the limits of the stage are used", extra={"tags": found.unreadable})
    if found.deadline is None or not found.alias:
        return
    if found.deadline.at <= now:
        forget_model(bedrock(), run_store(), found.alias, found.arn)
        done["deleted"].append(found.known_as)
        about, reason = found.run_id, found.deadline.reason
        console = imported_models_link(stage.aws_region)
        notify(stage.topic_arn, endpoint_deleted(found.known_as, about, reason, stage=stage.stage, console=console))
    elif (
        found.serving and found.deadline.at - now <= WARN_BEFORE and found.tags.get(ANNOUNCED_TAG) != found.deadline.tag
    ):
        bedrock().tag(found.arn, {ANNOUNCED_TAG: found.deadline.tag})
        notify(stage.topic_arn, endpoint_expires(found.known_as, found.deadline, stage=stage.stage))
        done["announced"].append(found.known_as)


def _sweep_temporary(found: EndpointState, now: datetime, done: dict[str, list[str]]) -> None:
    """Deletes an endpoint that exists only for an evaluation once its run has ended. It is not announced."""
    status = open_run(found.run_id, __name__).find_status()
    if status is None or status.state.is_final:
        _delete(found, "the run that it was created for has ended", done)
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
    """Sets the tag before it notifies: a missing message is better than one in every sweep."""
    stage = settings()
    sagemaker().tag_endpoint(found.name, {ANNOUNCED_TAG: deadline.tag})
    notify(stage.topic_arn, endpoint_expires(found.name, deadline, stage=stage.stage))


def _count_cost(found: EndpointState, served: timedelta) -> InService:
    """Measures the instance-hours since the last sweep, and their price by the plan of the endpoint's run."""
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
            "instance_type": plan.endpoint.in_words if plan else None,
            "instance_hours": hours,
            "usd": usd,
        },
    )
    return InService(found, price)
