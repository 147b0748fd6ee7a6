"""Sweeper, on a schedule: deletes endpoints past their time or that nobody uses. Never a model."""

from datetime import UTC, datetime

from finetuning.aws.notifications import notify
from finetuning.aws.sagemaker import OWNER_TAG, invocations, sagemaker
from finetuning.handlers.step import Payload, logger, step
from finetuning.report import messages
from finetuning.runs.expiry import reason_to_delete
from finetuning.runs.links import endpoints_link
from finetuning.settings import settings

DELETABLE = ("InService", "Failed", "UpdateRollbackFailed", "OutOfService")


@step
def handler(event: Payload) -> Payload:
    """`{}` → `{deleted: [endpoint, …]}`."""
    stage, now, deleted = settings(), datetime.now(UTC), []
    for endpoint in list(sagemaker().endpoints(stage.prefix + "-")):
        name = endpoint["EndpointName"]
        tags = sagemaker().tags(endpoint["EndpointArn"])
        if tags.get(OWNER_TAG) != stage.prefix or endpoint["EndpointStatus"] not in DELETABLE:
            continue
        reason = reason_to_delete(
            tags,
            endpoint["LastModifiedTime"],
            now,
            lambda since, name=name: invocations(name, since, now),  # type: ignore[misc]  # the default binds the loop's name
            default_ttl_hours=stage.endpoint_ttl_hours,
            default_idle_minutes=stage.endpoint_idle_minutes,
        )
        if reason and sagemaker().delete_endpoint(name):
            logger.info("Deleted an endpoint", extra={"endpoint": name, "reason": reason})
            deleted.append(name)
            console = endpoints_link(stage.aws_region)
            notify(stage.topic_arn, messages.endpoint_deleted(name, reason, stage=stage.stage, console=console))
    return {"deleted": deleted}
