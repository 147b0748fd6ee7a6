"""RemoveRuns, a custom resource: removes what runs created before the stacks are deleted, because it uses the network,
and waits for the network interfaces of deleted functions and jobs.

CloudFormation expects a response at the URL in the event and waits an hour without one, so every path sends one. A
function has 15 minutes at most: where more is left, it calls itself and goes on.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.bedrock import bedrock
from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.bedrock.facts import import_facts
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import logger
from finetuning.runs.outcomes import can_be_deleted
from finetuning.settings import settings

POLL_SECONDS = 10
MARGIN_SECONDS = 30
"""The time of the function that is reserved for the response."""
LIMIT_SECONDS = 55 * 60
"""How long it goes on before it answers that it could not finish; CloudFormation waits an hour."""
SHOWN = 10
"""How many of the things that are left a message names."""

Left = Callable[[], list[str]]
"""Removes what it can, and says what is left."""


class _OutOfTime(Exception):
    """The function's own time is over; the message says what is left."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """A CloudFormation custom resource request, or one that goes on with it: `until`, in seconds since 1970.

    Properties, either `StateMachineArn`, whose executions are stopped; `EmptyBuckets`, the buckets to empty, and with
    them the model registry; `AccessLogs`, the one of these that receives the access logs of the others. Or
    `SecurityGroups`, whose network interfaces are waited for.
    """
    status, reason = "SUCCESS", ""
    until = event.get("until", time.time() + LIMIT_SECONDS)
    try:
        if event["RequestType"] == "Delete":
            _delete(event["ResourceProperties"], context, until)
    except _OutOfTime as left:
        if time.time() + MARGIN_SECONDS < until and _go_on({**event, "until": until}, context):
            return
        status, reason = "FAILED", f"{left} Destroy the stack again to continue."
    except Exception as error:  # noqa: BLE001  # CloudFormation must receive every failure
        logger.exception("Cannot remove what the runs created")
        status, reason = "FAILED", f"{error} Destroy the stack again to continue."
    _answer(event, status, reason)


def _delete(properties: dict[str, Any], context: LambdaContext, until: float) -> None:
    """Deletes what the resource stands for. What is done is found done when it is called again.

    Raises `_OutOfTime`.
    """

    def wait_for(left: Left) -> None:
        """Lists what is left until it is nothing: a step that was running may have created something, and an endpoint
        cannot be deleted while it is Creating.
        """
        while remaining := left():
            _check_time(context, until, remaining)
            time.sleep(POLL_SECONDS)

    if groups := properties.get("SecurityGroups"):
        wait_for(lambda: _interfaces(set(groups)))
        return
    api, prefix = sagemaker(), settings().prefix + "-"
    wait_for(
        lambda: [
            *_stop_executions(properties["StateMachineArn"]),
            *_delete_all(api, prefix),
            *_delete_imports(prefix),
        ]
    )
    emptied = properties.get("EmptyBuckets", [])
    if access_logs := properties.get("AccessLogs"):
        _end_deliveries(access_logs)

    def check_time(bucket: str) -> None:
        _check_time(context, until, [f"objects in the bucket {bucket}"])

    # CleanUpRun, after the executions that were stopped, may still be writing.
    wait_for(lambda: [f"objects in the bucket {bucket}" for bucket in emptied if _empty(bucket, check_time)])
    if emptied:  # the versions of models whose weights were deleted
        api.unregister_models(prefix)


def _check_time(context: LambdaContext, until: float, left: list[str]) -> None:
    seconds = min(context.get_remaining_time_in_millis() / 1000, until - time.time())
    if seconds < MARGIN_SECONDS + POLL_SECONDS:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        raise _OutOfTime(f"Still being removed: {', '.join(left[:SHOWN])}{more}.")


def _go_on(event: dict[str, Any], context: LambdaContext) -> bool:
    """Calls this function again with the same request; False if Lambda refuses."""
    try:
        with translate_errors("go on with the removal"):
            client("lambda").invoke(
                FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=json.dumps(event)
            )
    except Exception:  # noqa: BLE001  # the answer is then that time was short
        logger.exception("Cannot go on with the removal")
        return False
    return True


def _stop_executions(state_machine: str) -> list[str]:
    """Stops the running executions, which would create more; returns them."""
    states = client("stepfunctions")
    with translate_errors("stop the executions"):
        pages = states.get_paginator("list_executions").paginate(stateMachineArn=state_machine, statusFilter="RUNNING")
        running = [execution["executionArn"] for page in pages for execution in page["executions"]]
        for arn in running:
            states.stop_execution(executionArn=arn, cause="The stage is being destroyed")
    return [f"execution {arn.rpartition(':')[2]}" for arn in running]


def _delete_all(api: SageMaker, prefix: str) -> list[str]:
    """Stops jobs and deletes endpoints, configurations and models; returns the jobs and endpoints that remain."""
    for job in list(api.training_jobs(prefix, "InProgress")):
        api.stop_training_job(job)
    for endpoint in list(api.endpoints(prefix)):
        if can_be_deleted(endpoint["EndpointStatus"]):
            api.delete_endpoint(endpoint["EndpointName"])
    left = [f"training job {job}" for status in ("InProgress", "Stopping") for job in api.training_jobs(prefix, status)]
    left += [f"endpoint {endpoint['EndpointName']}" for endpoint in api.endpoints(prefix)]
    if not left:
        for config in list(api.endpoint_configs(prefix)):
            api.delete_endpoint_config(config["EndpointConfigName"])
        for model in list(api.models(prefix)):
            api.delete_model(model["ModelName"])
    return left


def _delete_imports(prefix: str) -> list[str]:
    """Deletes imported models; returns the imports that go on, which Bedrock cannot stop. Also in a stage that may not
    import models any more; elsewhere than in the regions of imports there are none.
    """
    if settings().aws_region not in import_facts().regions.value:
        return []
    api = bedrock()
    try:
        left = [f"import {job['jobName']}" for job in api.import_jobs(prefix) if job["status"] == "InProgress"]
        for model in list(api.models(prefix)):
            api.delete_model(model["modelArn"])
    except FineTuningError as error:
        if error.code is Code.ACCESS_DENIED and not settings().import_role_arn:
            # An organisation that forbids Bedrock: the stage cannot have imported anything while that was so.
            logger.warning("Cannot look for imported models", extra={"error": str(error)})
            return []
        raise
    return left


def _interfaces(groups: set[str]) -> list[str]:
    """The network interfaces in these security groups: SageMaker keeps them for some time after a job or an endpoint
    has ended, and Lambda for 20 to 45 minutes after the last function was deleted. The subnets cannot be deleted
    before.
    """
    with translate_errors("look for network interfaces"):
        pages = (
            client("ec2")
            .get_paginator("describe_network_interfaces")
            .paginate(Filters=[{"Name": "group-id", "Values": sorted(groups)}])
        )
        found = [interface for page in pages for interface in page["NetworkInterfaces"]]
    return [
        f"network interface {each['NetworkInterfaceId']}"
        for each in found
        if groups & {group["GroupId"] for group in each.get("Groups", [])}
    ]


def _end_deliveries(access_logs: str) -> None:
    """Deletes the bucket's policy, which lets S3 deliver access logs. S3 delivers them hours late, also those of the
    deletions here, and CloudFormation cannot delete a bucket with objects in it.
    """
    with translate_errors(f"end the deliveries to the bucket {access_logs}"):
        client("s3").delete_bucket_policy(Bucket=access_logs)


def _empty(bucket: str, check_time: Callable[[str], None]) -> bool:
    """Deletes all versions; False if there were none. Raises `RuntimeError` if S3 does not delete some of them, and
    what `check_time` raises, which is called for every thousand.
    """
    s3, found = client("s3"), False
    with translate_errors(f"empty the bucket {bucket}"):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if not versions:
                continue
            found = True
            check_time(bucket)
            if refused := s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True}).get("Errors"):
                first = refused[0]
                why = f"{first['Key']}: {first['Code']}: {first['Message']}"
                raise RuntimeError(
                    f"Cannot delete {len(refused)} object{'s' if len(refused) > 1 else ''} in {bucket}: {why}."
                )
    return found


def _answer(event: dict[str, Any], status: str, reason: str) -> None:
    body = {
        "Status": status,
        "Reason": reason[:1000],
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(  # noqa: S310  # the URL is CloudFormation's own
        event["ResponseURL"], json.dumps(body).encode(), {"Content-Type": ""}, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=20):  # noqa: S310
        logger.info("Answered CloudFormation", extra={"status": status})
