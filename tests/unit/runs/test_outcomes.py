"""What SageMaker's descriptions mean for a run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.runs.outcomes import Outcome, endpoint_outcome, training_progress, wait_seconds

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONGEST_JOB_SECONDS = 360_000
EVENTS_PER_POLL = 9
HISTORY_LIMIT = 25_000


def any_job(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "job",
        "TrainingJobStatus": status,
        "CreationTime": NOW - timedelta(minutes=10),
        **fields,
    }


def test_the_longest_job_fits_into_one_executions_history() -> None:
    elapsed, polls = 0.0, 0
    while elapsed < LONGEST_JOB_SECONDS:
        elapsed += wait_seconds(elapsed)
        polls += 1
    assert polls * EVENTS_PER_POLL < HISTORY_LIMIT * 0.9


def test_a_job_of_a_minute_is_seen_to_end_within_five_seconds() -> None:
    assert wait_seconds(60) <= 5


def test_a_running_job_shows_what_it_does_and_its_metrics() -> None:
    job = any_job(
        "InProgress",
        SecondaryStatus="Training",
        SecondaryStatusTransitions=[{"Status": "Training", "StatusMessage": "Training image download completed"}],
        FinalMetricDataList=[{"MetricName": "eval-loss", "Value": 1.5, "Timestamp": NOW}],
    )
    progress = training_progress(job, NOW)
    assert progress.outcome is Outcome.IN_PROGRESS
    assert progress.message == "Training: Training image download completed"
    assert [(metric.name, metric.value) for metric in progress.metrics] == [("eval-loss", 1.5)]
    assert progress.elapsed_seconds == 600


def test_a_job_without_capacity_may_be_tried_elsewhere() -> None:
    job = any_job("Failed", FailureReason="CapacityError: Unable to provision requested ML compute capacity.")
    assert training_progress(job, NOW).outcome is Outcome.RETRY_ELSEWHERE


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        (any_job("Failed", FailureReason="AlgorithmError: KeyError: 'dialog'"), Code.TRAINING_FAILED, "KeyError"),
        (any_job("Stopped", SecondaryStatus="Stopped"), Code.TRAINING_STOPPED, "no model"),
        (any_job("Stopped", SecondaryStatus="MaxRuntimeExceeded"), Code.TRAINING_OUT_OF_TIME, "maximum run time"),
    ],
)
def test_a_job_that_ended_without_a_model_says_why(job: dict[str, Any], code: Code, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words) as failure:
        training_progress(job, NOW)
    assert failure.value.code == code


def any_endpoint(status: str, config: str = "new") -> dict[str, Any]:
    return {"EndpointName": "endpoint", "EndpointStatus": status, "EndpointConfigName": config}


def test_an_endpoint_serves_when_it_has_the_runs_own_configuration() -> None:
    assert endpoint_outcome(any_endpoint("InService", "new"), "new") is Outcome.IN_SERVICE
    assert endpoint_outcome(any_endpoint("Updating", "old"), "new") is Outcome.IN_PROGRESS


def test_an_update_that_rolled_back_in_silence_is_noticed() -> None:
    with pytest.raises(EndpointFailed) as failure:
        endpoint_outcome(any_endpoint("InService", "old"), "new")
    assert failure.value.code == Code.ENDPOINT_ROLLED_BACK


def test_a_failed_endpoint_gives_sagemakers_reason() -> None:
    with pytest.raises(EndpointFailed, match="did not pass the ping health check") as failure:
        endpoint_outcome(any_endpoint("Failed") | {"FailureReason": "did not pass the ping health check"}, "new")
    assert failure.value.code == Code.ENDPOINT_FAILED
