"""RemoveRuns, a custom resource: before the stacks go, what runs created goes, for it holds on to the network.

CloudFormation waits for an answer at a URL it names; without one it waits for an hour, so every way out answers.
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
"""What is kept of the function's time for the answer."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """A CloudFormation custom resource request.

    Properties: `StateMachineArn`, whose executions are stopped; `EmptyBuckets`, names whose objects go with the stage,
    and with them the models' versions in the registry; `AccessLogs`, which of these takes the others' access logs.
    """
    status, reason = "SUCCESS", ""
    try:
        if event["RequestType"] == "Delete":
            properties = event["ResourceProperties"]
            _remove(sagemaker(), properties["StateMachineArn"], context)
            emptied = properties.get("EmptyBuckets", [])
            if access_logs := properties.get("AccessLogs"):
                _end_deliveries(access_logs)
            # The clean-up after what was stopped may still write its last words.
            while sum(map(_empty, emptied)):
                time.sleep(POLL_SECONDS)
            if emptied:  # versions of models whose weights are gone
                sagemaker().unregister_models(settings().prefix + "-")
    except Exception as error:  # noqa: BLE001  # CloudFormation must hear of every failure
        logger.exception("What the runs created could not be removed")
        status, reason = "FAILED", f"{error} Destroy the stack again to go on."
    _answer(event, status, reason)


def _remove(api: SageMaker, state_machine: str, context: LambdaContext) -> None:
    """Until nothing is left. Each turn looks anew: a step that was under way may still have made something, and an
    endpoint can be deleted only once it is up. Raises `TimeoutError` shortly before the function's own time is over.
    """
    prefix = settings().prefix + "-"
    while left := [*_stop_executions(state_machine), *_delete_all(api, prefix), *_interfaces()]:
        if context.get_remaining_time_in_millis() < (MARGIN_SECONDS + POLL_SECONDS) * 1000:
            raise TimeoutError(f"Still going away: {', '.join(left)}.")
        time.sleep(POLL_SECONDS)


def _stop_executions(state_machine: str) -> list[str]:
    """Stops those that run, which would make new things; returns them."""
    states = client("stepfunctions")
    with translate_errors("stop the executions"):
        pages = states.get_paginator("list_executions").paginate(stateMachineArn=state_machine, statusFilter="RUNNING")
        running = [execution["executionArn"] for page in pages for execution in page["executions"]]
        for arn in running:
            states.stop_execution(executionArn=arn, cause="The stage is being destroyed")
    return [f"execution {arn.rpartition(':')[2]}" for arn in running]


def _delete_all(api: SageMaker, prefix: str) -> list[str]:
    """Stops jobs and deletes endpoints, configurations and models; returns the jobs and endpoints still there."""
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
    """The network interfaces that SageMaker keeps in the jobs' security group for a while after a job or an endpoint
    is gone: the subnets cannot go before them.
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
    """S3 delivers access logs hours late, of deleting these objects, too, and CloudFormation deletes no bucket with
    something in it. The bucket's policy is what lets S3 deliver: once it is gone, an emptied bucket stays empty.
    """
    with translate_errors(f"end the deliveries to the bucket {access_logs}"):
        client("s3").delete_bucket_policy(Bucket=access_logs)


def _empty(bucket: str) -> bool:
    """Deletes every version; False where there was none. Raises `RuntimeError` where S3 takes the call and refuses
    objects in it.
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
            if refused := s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True}).get("Errors"):
                first = refused[0]
                why = f"{first['Key']}: {first['Code']}: {first['Message']}"
                raise RuntimeError(f"{len(refused)} objects in {bucket} could not be deleted, first {why}.")
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
