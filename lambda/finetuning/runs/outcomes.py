"""What SageMaker's descriptions mean for a run: keep waiting, continue with the next step, or fail with a reason."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.runs.causes import explain
from finetuning.runs.guardrails import ROLLBACK_SECONDS
from finetuning.runs.status import Metric

CAPACITY_WORDS = re.compile(
    r"capacityerror|insufficient ?(instance ?)?capacity|not enough capacity|unable to provision requested ml compute "
    r"capacity",
    re.IGNORECASE,
)
"""How AWS reports missing capacity, in public logs of jobs and endpoints. How a rejected request says it has not been
observed; EC2's words are assumed."""

PENDING_GRACE = timedelta(minutes=5)
"""SageMaker ends a job that waits too long for instances by itself. After this time the run does it."""


def is_capacity_error(reason: str) -> bool:
    """True if an error's code and message report that AWS has no capacity now; an exceeded quota is another error."""
    return CAPACITY_WORDS.search(reason) is not None


def is_overdue(job: Mapping[str, Any], now: datetime) -> bool:
    """True if the job, a DescribeTrainingJob response, still waits for instances although its time for that is over.

    A job with a training plan may wait for the plan to begin, which does not count.
    """
    if job["TrainingJobStatus"] != "InProgress" or "TrainingPlanArn" in job.get("ResourceConfig", {}):
        return False
    return _pended_too_long(job, now - PENDING_GRACE)


def _pended_too_long(job: Mapping[str, Any], until: datetime | None = None) -> bool:
    """True if the job had no instances, which start its billing, for the time that its request allows. `until`: when it
    ended, by default.
    """
    seconds = job.get("StoppingCondition", {}).get("MaxPendingTimeInSeconds")
    if seconds is None or "TrainingStartTime" in job:
        return False
    ended = until or job.get("TrainingEndTime") or job["LastModifiedTime"]
    pended: timedelta = ended - job["CreationTime"]
    return pended >= timedelta(seconds=seconds)


def selected_type(job: Mapping[str, Any]) -> str | None:
    """The instance type of the job; None while SageMaker has not selected one of several."""
    resources = job.get("ResourceConfig", {})
    selected: str | None = resources.get("SelectedInstanceType") or resources.get("InstanceType")
    return selected


class Outcome(StrEnum):
    """The values that the state machine's Choice states compare."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    RETRY_ELSEWHERE = "retry_elsewhere"
    WAITING = "waiting"
    GO = "go"
    IN_SERVICE = "in_service"


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a training job."""

    outcome: Outcome
    message: str
    metrics: list[Metric]
    artifact: str = ""
    """S3 URI of a completed job's files, ending in `/`."""


def training_progress(
    job: Mapping[str, Any], log_tail: Callable[[str], Sequence[str]], columns: Collection[str] = ()
) -> TrainingProgress:
    """Reads a DescribeTrainingJob response; `log_tail` returns the last lines of a failed job's log, by its name;
    `columns` are those that the run's template names.

    A job that failed for lack of capacity, or that ended after waiting for it as long as it may, has the outcome
    `RETRY_ELSEWHERE`. Raises `TrainingFailed` for any other job that ended without a model: a failed one, or a stopped
    one, such as a job that reached its maximum run time.
    """
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    reason = str(job.get("FailureReason", ""))
    transitions = job.get("SecondaryStatusTransitions") or [{}]
    detail = str(transitions[-1].get("StatusMessage", ""))

    def progress(outcome: Outcome, message: str) -> TrainingProgress:
        return TrainingProgress(
            outcome,
            message,
            [
                Metric(name=m["MetricName"], value=m["Value"], time=m["Timestamp"])
                for m in job.get("FinalMetricDataList", [])
                if math.isfinite(m["Value"])  # JSON has no NaN, which a training that diverged may report
            ],
            _prefix(job.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")),
        )

    match status:
        case "Completed":
            return progress(Outcome.COMPLETED, "The training job completed")
        case "Failed" if is_capacity_error(reason):
            return progress(Outcome.RETRY_ELSEWHERE, reason)
        case "Failed" | "Stopped" if _pended_too_long(job):
            minutes = job["StoppingCondition"]["MaxPendingTimeInSeconds"] / 60
            return progress(Outcome.RETRY_ELSEWHERE, f"The job {name} got no instances within {minutes:.0f} minutes")
        case "Failed":
            raise explain(name, reason or detail, log_tail(name), columns)
        case "Stopped" if job.get("SecondaryStatus") == "MaxRuntimeExceeded":
            raise TrainingFailed(
                Code.TRAINING_OUT_OF_TIME,
                f"The training job {name} reached its maximum run time and was stopped; a stopped job leaves no model.",
                "Raise training.max_runtime_hours or training.max_cost_usd in run.json, or train fewer epochs.",
            )
        case "Stopped":
            raise TrainingFailed(
                Code.TRAINING_STOPPED,
                f"The training job {name} was stopped before it completed; a stopped job leaves no model.",
                "Start over with `finetune submit --again RUN`. CloudTrail shows who called StopTrainingJob, which is "
                "CleanUpRun if the execution was aborted.",
            )
        case _:
            secondary = str(job.get("SecondaryStatus", status))
            return progress(Outcome.IN_PROGRESS, f"{secondary}: {detail}" if detail else secondary)


def _prefix(uri: str) -> str:
    """SageMaker reports the prefix without the slash that CreateModel requires."""
    return uri if not uri or uri.endswith("/") else uri + "/"


def pooled_types(endpoint: Mapping[str, Any]) -> list[str]:
    """The types of an endpoint's pools on which it has instances, by a DescribeEndpoint response."""
    return [
        pool["InstanceType"]
        for variant in endpoint.get("ProductionVariants", [])
        for pool in variant.get("InstancePools", [])
        if pool.get("CurrentInstanceCount")
    ]


def require_capture(endpoint: Mapping[str, Any], destination: str | None, percentage: int) -> None:
    """Compares what the endpoint, a DescribeEndpoint response, stores of its invocations with what the run asks for:
    `percentage` of them under `destination`, or none if that is None.

    An update may retain the variant's properties, and the service model lists data capture among them. Raises
    `EndpointFailed` (ENDPOINT_CAPTURE_DIFFERS).
    """
    actual = endpoint.get("DataCaptureConfig", {})
    stored = (actual["DestinationS3Uri"], actual["CurrentSamplingPercentage"]) if actual.get("EnableCapture") else None
    wanted = (destination, percentage) if destination else None
    if stored != wanted:
        name = endpoint["EndpointName"]
        raise EndpointFailed(
            Code.ENDPOINT_CAPTURE_DIFFERS,
            f"The endpoint {name} serves the new model, but stores {_capture_in_words(stored)} instead of "
            f"{_capture_in_words(wanted)}.",
            f"Restore the earlier model with `finetune rollback {name}`, or delete the endpoint (`aws sagemaker "
            f"delete-endpoint --endpoint-name {name}`) and deploy the model to a new one with `finetune deploy RUN`.",
        )


def _capture_in_words(capture: tuple[str, int] | None) -> str:
    return f"{capture[1]} % of the invocations in {capture[0]}" if capture else "no invocations"


UPDATE_SHOWN_SECONDS = 120
"""After this time an update shows in the endpoint's description, or has been rolled back."""


def _is_not_shown_yet(endpoint: Mapping[str, Any], now: datetime, began: datetime | None) -> bool:
    """True if the endpoint was updated so recently that its state may be the one before. A reason for a failure that is
    newer than the update ends that.
    """
    if began is None or (now - began).total_seconds() > UPDATE_SHOWN_SECONDS:
        return False
    return "FailureReason" not in endpoint or endpoint["LastModifiedTime"] < began


def is_changing(endpoint_status: str) -> bool:
    """True if SageMaker is changing the endpoint, and would reject an update or a deletion."""
    return endpoint_status in ("Creating", "Updating", "RollingBack", "SystemUpdating")


def can_be_deleted(endpoint_status: str) -> bool:
    """True if the endpoint can be deleted now: no change is in progress, and it is not being deleted already."""
    return endpoint_status != "Deleting" and not is_changing(endpoint_status)


def endpoint_outcome(
    endpoint: Mapping[str, Any], expected_config: str, now: datetime, seconds: int, began: datetime | None = None
) -> Outcome:
    """Reads a DescribeEndpoint response; `seconds` is the time allowed for the deployment, `began` its request.

    An update need not show at once: the endpoint may still be in service as before. Raises `EndpointFailed` if the
    endpoint failed, took too long, or is in service with another configuration than the run's: an update that was
    rolled back ends `InService` with the previous configuration.
    """
    name, status = endpoint["EndpointName"], endpoint["EndpointStatus"]
    reason = str(endpoint.get("FailureReason", "SageMaker gave no reason"))
    match status:
        case "InService" if endpoint["EndpointConfigName"] == expected_config:
            return Outcome.IN_SERVICE
        case "InService" if _is_not_shown_yet(endpoint, now, began):
            return Outcome.IN_PROGRESS
        case "InService" | "Failed" if is_capacity_error(reason):
            raise EndpointFailed(
                Code.ENDPOINT_NO_CAPACITY,
                f"AWS has no capacity for the endpoint {name}: {reason}",
                "The tuned model is kept: try again later with `finetune deploy RUN`, or on another instance type with "
                "`finetune deploy RUN --instance-type TYPE`.",
            )
        case "InService":
            raise EndpointFailed(
                Code.ENDPOINT_ROLLED_BACK,
                f"The endpoint {name} rolled back to {endpoint['EndpointConfigName']}, which serves as before; "
                f"{expected_config} is not deployed: {reason}",
                "The endpoint's log and alarms show why the new model was not healthy. The tuned model is kept: when "
                "the cause is fixed, deploy it with `finetune deploy RUN`.",
            )
        case _ if is_changing(status):
            waited = (now - endpoint["LastModifiedTime"]).total_seconds()
            if waited > seconds + ROLLBACK_SECONDS:
                raise EndpointFailed(
                    Code.ENDPOINT_OUT_OF_TIME,
                    f"The endpoint {name} is still {status} after {waited / 60:.0f} minutes.",
                    "Read the endpoint's log. If AWS has no capacity, choose another endpoint.instance_type.",
                )
            return Outcome.IN_PROGRESS
        case _:
            raise EndpointFailed(
                Code.ENDPOINT_FAILED,
                f"The endpoint {name} is {status}: {reason}",
                "Read the endpoint's log. If the model does not load, choose a larger endpoint.instance_type.",
            )
