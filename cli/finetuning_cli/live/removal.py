"""Removes everything that the runs of `finetune first-run` created in a stage, and lists what is left.

Not removed: records of ended jobs and executions, and SageMaker's logs, which cost next to nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.step_functions import executions
from finetuning.errors import Code, FineTuningError
from finetuning.runs.guardrails import alarm_names
from finetuning.runs.layout import RUNS
from finetuning.runs.status import RunStatus
from finetuning_cli.live.names import FIRST, is_object, is_resource, is_run
from finetuning_cli.stage.clean_up import remove_resources
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.runs import list_run_ids, stop_execution, wait_for_clean_up

Tell = Callable[[str], None]
DELETABLE = ("InService", "Failed", "OutOfService")
"""SageMaker refuses to delete an endpoint in another status."""
PATIENCE_SECONDS = 45 * 60
"""An endpoint that is being created is in service or failed after about half an hour."""
POLL_SECONDS = 2.0
AT_ONCE = 1000
"""Keys in one DeleteObjects request."""


def running(deployment: Deployment) -> list[str]:
    """What costs money by the hour, one line each, and executions, which may still create it."""
    api, prefix = sagemaker(), f"{deployment.prefix}-{FIRST}"
    jobs = [(job, status) for status in ("InProgress", "Stopping") for job in list(api.training_jobs(prefix, status))]
    return [
        *(f"execution of {run_id}" for run_id, _ in _executions(deployment)),
        *(f"training job {job} ({status})" for job, status in jobs if is_resource(job, deployment.prefix)),
        *(f"endpoint {each['EndpointName']} ({each['EndpointStatus']})" for each in _endpoints(deployment)),
    ]


def remaining(deployment: Deployment) -> list[str]:
    """Everything that is left, one line each: first what costs money by the hour."""
    counts = {bucket: len(list(_versions(bucket))) for bucket in _buckets(deployment)}
    return [
        *running(deployment),
        *(f"alarm {name}" for name in _alarms(deployment)),
        *(f"endpoint configuration {name}" for name in _configs(deployment)),
        *(f"model {name}" for name in _models(deployment)),
        *(f"model package group {name}" for name in _model_groups(deployment)),
        *(f"{_objects(count)} in {bucket}" for bucket, count in counts.items() if count),
    ]


def remove(
    deployment: Deployment, tell: Tell, patience: float = PATIENCE_SECONDS, poll_seconds: float = POLL_SECONDS
) -> None:
    """Stops and deletes all of it, and waits for endpoints that cannot be deleted yet. Idempotent.

    Raises `FineTuningError` (LEFT_BEHIND) if something is left when the patience is over.
    """
    api, deadline = sagemaker(), time.monotonic() + patience
    if count := _delete_objects(deployment.upload_bucket):  # first, so that an event under way starts no run
        tell(f"Deleted {_objects(count)} in {deployment.upload_bucket}")
    for run_id, execution_arn in list(_executions(deployment)):
        now = datetime.now(UTC)
        status = RunStatus(run_id=run_id, started_at=now, updated_at=now, execution_arn=execution_arn)
        stop_execution(status, "finetune first-run")
        tell(f"Stopped the execution of {run_id}")
        with suppress(FineTuningError):  # CLEAN_UP_LATE: what it would have done is done below
            wait_for_clean_up(deployment, deployment.run(run_id))  # it writes files, which are deleted last
    while _stop(deployment, tell) and time.monotonic() < deadline:
        time.sleep(poll_seconds)
    for run_id in filter(is_run, list_run_ids(deployment)):
        for line in remove_resources(deployment.run(run_id)):
            tell(line)
    for name in _configs(deployment):
        api.delete_endpoint_config(name)
    for name in _models(deployment):
        api.delete_model(name)
    if alarms := _alarms(deployment):
        with translate_errors("delete the alarms"):
            client("cloudwatch").delete_alarms(AlarmNames=alarms)
    for group in _model_groups(deployment):
        _delete_group(group)
        tell(f"Deleted the model package group {group}")
    if count := _delete_objects(deployment.artifacts_bucket):
        tell(f"Deleted {_objects(count)} in {deployment.artifacts_bucket}")
    if left := remaining(deployment):
        raise FineTuningError(
            Code.LEFT_BEHIND,
            f"Still there: {'; '.join(left)}.",
            "Run `finetune first-run --remove` in some minutes, or delete it in the AWS console.",
        )


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"


def _stop(deployment: Deployment, tell: Tell) -> bool:
    """Stops jobs and deletes endpoints as far as SageMaker allows it now; whether something is still running."""
    api = sagemaker()
    for job in list(api.training_jobs(f"{deployment.prefix}-{FIRST}", "InProgress")):
        if is_resource(job, deployment.prefix) and api.stop_training_job(job):
            tell(f"Stopped the training job {job}")
    for endpoint in _endpoints(deployment):
        if endpoint["EndpointStatus"] in DELETABLE and api.delete_endpoint(endpoint["EndpointName"]):
            tell(f"Deleted the endpoint {endpoint['EndpointName']}, its configurations and alarms")
    return bool(running(deployment))


def _executions(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Run id and ARN of each of their executions that is running."""
    machine = executions(deployment.state_machine_arn)
    for execution in machine.running():
        upload = machine.upload(execution.arn)
        if upload is not None and is_run(upload.run_id):
            yield upload.run_id, execution.arn


def _endpoints(deployment: Deployment) -> list[dict[str, str]]:
    found = list(sagemaker().endpoints(f"{deployment.prefix}-{FIRST}"))
    return [each for each in found if is_resource(each["EndpointName"], deployment.prefix)]


def _configs(deployment: Deployment) -> list[str]:
    found = [each["EndpointConfigName"] for each in sagemaker().endpoint_configs(f"{deployment.prefix}-{FIRST}")]
    return [name for name in found if is_resource(name, deployment.prefix)]


def _models(deployment: Deployment) -> list[str]:
    found = [each["ModelName"] for each in sagemaker().models(f"{deployment.prefix}-{FIRST}")]
    return [name for name in found if is_resource(name, deployment.prefix)]


def _model_groups(deployment: Deployment) -> list[str]:
    with translate_errors("list the model registry"):
        pages = client("sagemaker").get_paginator("list_model_package_groups").paginate(NameContains=FIRST)
        groups = [each["ModelPackageGroupName"] for page in pages for each in page["ModelPackageGroupSummaryList"]]
    return [name for name in groups if is_resource(name, deployment.prefix)]


def _delete_group(group: str) -> None:
    api = client("sagemaker")
    with translate_errors(f"delete the model package group {group}"):
        pages = api.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        for package in [each["ModelPackageArn"] for page in pages for each in page["ModelPackageSummaryList"]]:
            api.delete_model_package(ModelPackageName=package)
        api.delete_model_package_group(ModelPackageGroupName=group)


def _alarms(deployment: Deployment) -> list[str]:
    """Only the shared endpoint has alarms."""
    names = alarm_names(f"{deployment.prefix}-{FIRST}")
    with translate_errors("list the alarms"):
        found = client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return [alarm["AlarmName"] for alarm in found]


def _buckets(deployment: Deployment) -> tuple[str, str]:
    return deployment.upload_bucket, deployment.artifacts_bucket


def _versions(bucket: str) -> Iterator[dict[str, str]]:
    """Their objects, old versions and delete markers included."""
    with translate_errors(f"list the versions in {bucket}"):
        for page in client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=RUNS + FIRST):
            for each in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                if is_object(each["Key"]):
                    yield {"Key": each["Key"], "VersionId": each["VersionId"]}


def _delete_objects(bucket: str) -> int:
    found = list(_versions(bucket))
    with translate_errors(f"delete the objects in {bucket}"):
        for start in range(0, len(found), AT_ONCE):
            batch = {"Objects": found[start : start + AT_ONCE], "Quiet": True}
            client("s3").delete_objects(Bucket=bucket, Delete=batch)
    return len(found)
