"""Sweeper, on a schedule: deletes endpoints past their time or that nobody uses. Never a model.

It also counts what endpoints cost, for it is the one who sees them all for as long as they live.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from finetuning.aws.notifications import notify
from finetuning.aws.sagemaker import OWNER_TAG, RUN_TAG, invocations, sagemaker
from finetuning.aws.store import run_store
from finetuning.handlers.step import Payload, logger, measure, step
from finetuning.report import messages
from finetuning.runs.expiry import reason_to_delete
from finetuning.runs.layout import RunLayout
from finetuning.runs.links import endpoints_link
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

DELETABLE = ("InService", "Failed", "UpdateRollbackFailed", "OutOfService")


@step
def handler(event: Payload) -> Payload:
    """`{period_minutes}`, the time since the last sweep → `{deleted: [endpoint, …]}`.

    A sweep by hand has no period, and counts no cost.
    """
    period = timedelta(minutes=float(event.get("period_minutes", 0)))
    stage, now, deleted = settings(), datetime.now(UTC), []
    for endpoint in list(sagemaker().endpoints(stage.prefix + "-")):
        name = endpoint["EndpointName"]
        tags = sagemaker().tags(endpoint["EndpointArn"])
        if tags.get(OWNER_TAG) != stage.prefix or endpoint["EndpointStatus"] not in DELETABLE:
            continue
        if period:
            _count_cost(endpoint, tags, min(period, now - endpoint["CreationTime"]))
        reason = reason_to_delete(
            tags,
            endpoint["LastModifiedTime"],
            now,
            lambda since, name=name: invocations(name, since, now),  # type: ignore[misc]  # the default binds the loop's name
            default_ttl_hours=stage.endpoint_ttl_hours,
            default_idle_minutes=stage.endpoint_idle_minutes,
        )
        if reason and sagemaker().delete_endpoint(name):
            logger.info("Deleted an endpoint", extra={"endpoint": name, "run_id": tags.get(RUN_TAG), "reason": reason})
            deleted.append(name)
            console = endpoints_link(stage.aws_region)
            notify(stage.topic_arn, messages.endpoint_deleted(name, reason, stage=stage.stage, console=console))
    return {"deleted": deleted}


def _count_cost(endpoint: Mapping[str, Any], tags: Mapping[str, str], served: timedelta) -> None:
    """Instance-hours since the last sweep, and their price by the plan of the run that the endpoint serves."""
    live = sagemaker().describe_endpoint(endpoint["EndpointName"]) or {}
    instances = sum(variant.get("CurrentInstanceCount", 0) for variant in live.get("ProductionVariants", []))
    plan = run_store().find(RunLayout(tags.get(RUN_TAG, "")).plan, RunPlan)
    price = plan.endpoint.usd_per_hour if plan else None
    hours = round(instances * served.total_seconds() / 3600, 4)
    usd = None if price is None else round(hours * price, 4)
    measure(EndpointHours=hours)
    measure(MetricUnit.NoUnit, EndpointUsd=usd)
    logger.info(
        "An endpoint serves",
        extra={
            "endpoint": endpoint["EndpointName"],
            "run_id": tags.get(RUN_TAG),
            "instance_type": plan.endpoint.instance_type if plan else None,
            "instance_hours": hours,
            "usd": usd,
        },
    )
