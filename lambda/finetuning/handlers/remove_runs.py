"""RemoveRuns, a custom resource: before the stacks go, what runs created goes, for it holds on to the network.

CloudFormation waits for an answer at a URL it names; without one it waits for an hour, so every way out answers.
"""

import json
import time
import urllib.request
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from finetuning.aws.clients import client
from finetuning.aws.faults import explained
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.handlers.step import logger
from finetuning.settings import settings

POLL_SECONDS = 10
MARGIN_SECONDS = 30
"""What is kept of the function's time for the answer."""


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """A CloudFormation custom resource request. Property `EmptyBuckets`: names whose objects go with the stage."""
    status, reason = "SUCCESS", ""
    try:
        if event["RequestType"] == "Delete":
            _remove(sagemaker(), settings().prefix + "-", context)
            for bucket in event["ResourceProperties"].get("EmptyBuckets", []):
                _empty(bucket)
    except Exception as error:  # noqa: BLE001  # CloudFormation must hear of every failure
        logger.exception("What the runs created could not be removed")
        status, reason = "FAILED", f"{error} Destroy the stack again to go on."
    _answer(event, status, reason)


def _remove(api: SageMaker, prefix: str, context: LambdaContext) -> None:
    for job in list(api.training_jobs(prefix, "InProgress")):
        api.stop_training_job(job)
    for endpoint in list(api.endpoints(prefix)):
        if endpoint["EndpointStatus"] != "Deleting":
            api.delete_endpoint(endpoint["EndpointName"])
    for model in list(api.models(prefix)):
        api.delete_model(model)
    # Jobs and endpoints keep network interfaces in the subnets until they are gone.
    while left := _still_there(api, prefix):
        if context.get_remaining_time_in_millis() < MARGIN_SECONDS * 1000:
            raise TimeoutError(f"Still going away: {', '.join(left)}.")
        time.sleep(POLL_SECONDS)


def _still_there(api: SageMaker, prefix: str) -> list[str]:
    jobs = [job for status in ("InProgress", "Stopping") for job in api.training_jobs(prefix, status)]
    return jobs + [endpoint["EndpointName"] for endpoint in api.endpoints(prefix)]


def _empty(bucket: str) -> None:
    s3 = client("s3")
    with explained(f"empty the bucket {bucket}"):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            versions = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if versions:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})


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
