"""What SageMaker's descriptions mean for a run: go on waiting, go on to the next step, or stop with a reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.runs.causes import explain
from finetuning.runs.guardrails import ROLLBACK_SECONDS
from finetuning.runs.status import Metric

CAPACITY_WORDS = ("capacityerror", "insufficientcapacity", "insufficientinstancecapacity", "insufficient capacity")
"""How missing instances are named. `CapacityError` is what failed training jobs say; a refused request has not been
seen, and is assumed to use one of EC2's words."""


def names_capacity(reason: str) -> bool:
    """Whether an error's code and message say that AWS has too few instances just now; a quota is another matter."""
    return any(word in reason.lower() for word in CAPACITY_WORDS)


class Outcome(StrEnum):
    """The words the state machine's choices compare with."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    RETRY_ELSEWHERE = "retry_elsewhere"
    WAITING = "waiting"
    GO = "go"
    IN_SERVICE = "in_service"


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training job stands."""

    outcome: Outcome
    message: str
    metrics: list[Metric]


def training_progress(job: Mapping[str, Any], log_tail: Callable[[str], Sequence[str]]) -> TrainingProgress:
    """Reads a DescribeTrainingJob response; `log_tail` gives the last lines of a failed job's log, by its name.

    Capacity shows as a failed job whose reason says so: the outcome is then `RETRY_ELSEWHERE`.
    Raises `TrainingFailed` for a job that ended without a model, `Stopped` included: at its maximum run time a job is
    stopped and leaves none.
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
            ],
        )

    match status:
        case "Completed":
            return progress(Outcome.COMPLETED, "The training job completed")
        case "Failed" if names_capacity(reason):
            return progress(Outcome.RETRY_ELSEWHERE, reason)
        case "Failed":
            raise explain(name, reason or detail, log_tail(name))
        case "Stopped" if job.get("SecondaryStatus") == "MaxRuntimeExceeded":
            raise TrainingFailed(
                Code.TRAINING_OUT_OF_TIME,
                f"The training job {name} reached its maximum run time and was stopped; a stopped job leaves no model.",
                "Raise training.max_runtime_hours or training.max_cost_usd in run.json, or train fewer epochs.",
            )
        case "Stopped":
            raise TrainingFailed(
                Code.TRAINING_STOPPED,
                f"The training job {name} was stopped before it ended; a stopped job leaves no model.",
                "Upload again to start over. If nobody in the team stopped it, look the call up in CloudTrail.",
            )
        case _:
            secondary = str(job.get("SecondaryStatus", status))
            return progress(Outcome.IN_PROGRESS, f"{secondary}: {detail}" if detail else secondary)


def is_under_way(endpoint_status: str) -> bool:
    """Whether SageMaker is at work on the endpoint, and would refuse to change or delete it."""
    return endpoint_status in ("Creating", "Updating", "RollingBack", "SystemUpdating")


def is_settled(endpoint_status: str) -> bool:
    """Whether the endpoint can be deleted: nothing is under way, and it is not going already."""
    return endpoint_status != "Deleting" and not is_under_way(endpoint_status)


def endpoint_outcome(endpoint: Mapping[str, Any], expected_config: str, now: datetime, seconds: int) -> Outcome:
    """Reads a DescribeEndpoint response; `seconds` is how long bringing it up may take.

    Raises `EndpointFailed` where the endpoint failed, took too long, or is in service with another configuration than
    the run's: an update that rolls back ends `InService` on the old one, and only the configuration's name tells.
    """
    name, status = endpoint["EndpointName"], endpoint["EndpointStatus"]
    reason = str(endpoint.get("FailureReason", "SageMaker gave no reason"))
    match status:
        case "InService" if endpoint["EndpointConfigName"] == expected_config:
            return Outcome.IN_SERVICE
        case "InService":
            raise EndpointFailed(
                Code.ENDPOINT_ROLLED_BACK,
                f"The endpoint {name} rolled back to {endpoint['EndpointConfigName']}, which answers as before; "
                f"{expected_config} does not serve: {reason}",
                "Read the endpoint's log and its alarms for why the new model did not become healthy. The model is "
                "kept: once that is mended, deploy it again with `finetune deploy RUN`.",
            )
        case _ if is_under_way(status):
            waited = (now - endpoint["LastModifiedTime"]).total_seconds()
            if waited > seconds + ROLLBACK_SECONDS:
                raise EndpointFailed(
                    Code.ENDPOINT_OUT_OF_TIME,
                    f"The endpoint {name} is still {status} after {waited / 60:.0f} minutes.",
                    "Read the endpoint's log. Where AWS lacks instances, another endpoint.instance_type helps.",
                )
            return Outcome.IN_PROGRESS
        case _:
            raise EndpointFailed(
                Code.ENDPOINT_FAILED,
                f"The endpoint {name} is {status}: {reason}",
                "Read the endpoint's log; where the model does not load, a larger endpoint.instance_type helps.",
            )
