"""RemoveRuns, a custom resource: removes what runs created before the stacks are deleted, because it uses the network.

CloudFormation expects a response at the URL in the event and waits an hour without one, so every path sends one.
"""

import json
import time
import urllib.request
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.handlers.step import logger
from finetuning.runs.outcomes import can_be_deleted
from finetuning.settings import settings

POLL_SECONDS = 10
MARGIN_SECONDS = 30
"""The time of the function that is reserved for the response."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """A CloudFormation custom resource request.

    Properties: `StateMachineArn`, whose executions are stopped; `EmptyBuckets`, the buckets to empty, and with them the
    model registry; `AccessLogs`, the one of these that receives the access logs of the others.
    """
    status, reason = "SUCCESS", ""
    try:
        if event["RequestType"] == "Delete":
            properties = event["ResourceProperties"]
            _remove(sagemaker(), properties["StateMachineArn"], context)
            emptied = properties.get("EmptyBuckets", [])
            if access_logs := properties.get("AccessLogs"):
                _end_deliveries(access_logs)
            # CleanUpRun, after the executions that were stopped, may still be writing.
            while sum(map(_empty, emptied)):
                time.sleep(POLL_SECONDS)
            if emptied:  # the versions of models whose weights were deleted
                sagemaker().unregister_models(settings().prefix + "-")
    except Exception as error:  # noqa: BLE001  # CloudFormation must receive every failure
        logger.exception("Cannot remove what the runs created")
        status, reason = "FAILED", f"{error} Destroy the stack again to continue."
    _answer(event, status, reason)


def _remove(api: SageMaker, state_machine: str, context: LambdaContext) -> None:
    """Removes everything that runs created. It is listed again until nothing is left: a step that was running may have
    created something, and an endpoint cannot be deleted while it is Creating. Raises `TimeoutError` shortly before the
    function's own timeout.
    """
    prefix = settings().prefix + "-"
    while left := [*_stop_executions(state_machine), *_delete_all(api, prefix), *_interfaces()]:
        if context.get_remaining_time_in_millis() < (MARGIN_SECONDS + POLL_SECONDS) * 1000:
            raise TimeoutError(f"Still being removed: {', '.join(left)}.")
        time.sleep(POLL_SECONDS)


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


def _interfaces() -> list[str]:
    """The network interfaces that SageMaker keeps in the jobs' security group for some time after a job or an endpoint
    has ended. The subnets cannot be deleted before them.
    """
    groups = set(settings().security_group_ids)
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


def _empty(bucket: str) -> bool:
    """Deletes all versions; False if there were none. Raises `RuntimeError` if S3 does not delete some of them."""
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
