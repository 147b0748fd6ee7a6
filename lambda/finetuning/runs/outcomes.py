"""What SageMaker's descriptions mean for a run: go on waiting, go on to the next step, or stop with a reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.runs.status import Metric

SHORTEST_WAIT, LONGEST_WAIT = 2, 180


def wait_seconds(elapsed_seconds: float) -> int:
    """Seconds until the next look: a twentieth of the time already waited.

    So a job of a minute is seen to end within seconds, and the longest one (100 h) takes about 2,100 polls: at nine
    history events each, that stays below the 25,000 that one execution may have.
    """
    return max(SHORTEST_WAIT, min(LONGEST_WAIT, math.ceil(elapsed_seconds / 20)))


class Outcome(StrEnum):
    """The words the state machine's choices compare with."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    RETRY_ELSEWHERE = "retry_elsewhere"
    IN_SERVICE = "in_service"


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training job stands. `billable_seconds` is known once instances run."""

    outcome: Outcome
    message: str
    metrics: list[Metric]
    elapsed_seconds: float
    billable_seconds: float | None


def training_progress(job: Mapping[str, Any], now: datetime) -> TrainingProgress:
    """Reads a DescribeTrainingJob response.

    Capacity shows as a failed job whose reason starts with CapacityError: the outcome is then `RETRY_ELSEWHERE`.
    Raises `TrainingFailed` for a job that ended without a model, `Stopped` included: at its maximum run time a job is
    stopped and leaves none.
    """
    name, status = job["TrainingJobName"], job["TrainingJobStatus"]
    reason = str(job.get("FailureReason", ""))
    transitions = job.get("SecondaryStatusTransitions") or [{}]
    detail = str(transitions[-1].get("StatusMessage", ""))
    elapsed = (now - job["CreationTime"]).total_seconds()

    def progress(outcome: Outcome, message: str) -> TrainingProgress:
        return TrainingProgress(
            outcome,
            message,
            [
                Metric(name=m["MetricName"], value=m["Value"], time=m["Timestamp"])
                for m in job.get("FinalMetricDataList", [])
            ],
            elapsed,
            job.get("BillableTimeInSeconds"),
        )

    match status:
        case "Completed":
            return progress(Outcome.COMPLETED, "The training job completed")
        case "Failed" if reason.startswith("CapacityError"):
            return progress(Outcome.RETRY_ELSEWHERE, reason)
        case "Failed":
            raise TrainingFailed(
                Code.TRAINING_FAILED,
                f"The training job {name} failed: {reason or detail or 'SageMaker gave no reason'}",
                "Read the job's log (linked in status.json); the reason usually names the line of the training script.",
            )
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


def endpoint_outcome(endpoint: Mapping[str, Any], expected_config: str) -> Outcome:
    """Reads a DescribeEndpoint response.

    Raises `EndpointFailed` where the endpoint failed, or is in service with another configuration than the run's:
    an update that rolls back ends `InService` on the old one, and only the configuration's name tells.
    """
    name, status = endpoint["EndpointName"], endpoint["EndpointStatus"]
    reason = str(endpoint.get("FailureReason", "SageMaker gave no reason"))
    match status:
        case "InService" if endpoint["EndpointConfigName"] == expected_config:
            return Outcome.IN_SERVICE
        case "InService":
            raise EndpointFailed(
                Code.ENDPOINT_ROLLED_BACK,
                f"The endpoint {name} rolled back to {endpoint['EndpointConfigName']} ; the new model does not serve.",
                "The earlier model still answers. Read the endpoint's log for why the new one did not become healthy.",
            )
        case "Creating" | "Updating" | "RollingBack" | "SystemUpdating":
            return Outcome.IN_PROGRESS
        case _:
            raise EndpointFailed(
                Code.ENDPOINT_FAILED,
                f"The endpoint {name} is {status}: {reason}",
                "Read the endpoint's log; where the model does not load, a larger endpoint.instance_type helps.",
            )
