"""What SageMaker's descriptions mean for a run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.errors import Code, EndpointFailed, TrainingFailed
from finetuning.runs.outcomes import (
    UPDATE_SHOWN_SECONDS,
    Outcome,
    can_be_deleted,
    endpoint_outcome,
    is_capacity_error,
    is_overdue,
    pooled_types,
    require_capture,
    selected_type,
    training_progress,
)
from rehearsal.emulator.sagemaker.errors import CAPACITY_REASONS

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
P4D = "ml.p4d.24xlarge"


def any_job(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "job",
        "TrainingJobStatus": status,
        "CreationTime": NOW - timedelta(minutes=10),
        **fields,
    }


def no_log(job_name: str) -> list[str]:
    return []


def test_a_running_job_shows_what_it_does_and_its_metrics() -> None:
    job = any_job(
        "InProgress",
        SecondaryStatus="Training",
        SecondaryStatusTransitions=[{"Status": "Training", "StatusMessage": "Training image download completed"}],
        FinalMetricDataList=[{"MetricName": "eval-loss", "Value": 1.5, "Timestamp": NOW}],
    )
    progress = training_progress(job, no_log)
    assert progress.outcome is Outcome.IN_PROGRESS
    assert progress.message == "Training: Training image download completed"
    assert [(metric.name, metric.value) for metric in progress.metrics] == [("eval-loss", 1.5)]


def test_a_job_without_capacity_may_be_tried_on_another_type() -> None:
    job = any_job("Failed", FailureReason="CapacityError: Unable to provision requested ML compute capacity.")
    assert training_progress(job, no_log).outcome is Outcome.RETRY_ELSEWHERE


def test_an_exceeded_quota_is_not_a_lack_of_capacity() -> None:
    quota = "The account-level service limit 'ml.g5.12xlarge for training job usage' is 0 Instances"
    assert not is_capacity_error(f"ResourceLimitExceeded: {quota}")
    assert is_capacity_error("InsufficientInstanceCapacity: try later")


@pytest.mark.parametrize(
    ("job", "code", "words"),
    [
        (any_job("Failed", FailureReason="AlgorithmError: it broke"), Code.TRAINING_FAILED, "it broke"),
        (any_job("Stopped", SecondaryStatus="Stopped"), Code.TRAINING_STOPPED, "no model"),
        (any_job("Stopped", SecondaryStatus="MaxRuntimeExceeded"), Code.TRAINING_OUT_OF_TIME, "maximum run time"),
    ],
)
def test_a_job_that_ended_without_a_model_says_why(job: dict[str, Any], code: Code, words: str) -> None:
    with pytest.raises(TrainingFailed, match=words) as failure:
        training_progress(job, no_log)
    assert failure.value.code == code


def test_the_log_explains_a_failed_job() -> None:
    job = any_job("Failed", FailureReason="AlgorithmError: ExecuteUserScriptError")
    with pytest.raises(TrainingFailed) as failure:
        training_progress(job, lambda name: [f"{name}: torch.OutOfMemoryError: CUDA out of memory"])
    assert failure.value.code == Code.TRAINING_OUT_OF_MEMORY
    assert failure.value.log


def test_a_missing_column_is_explained_only_where_the_template_names_it() -> None:
    job = any_job("Failed", FailureReason="AlgorithmError: ExecuteUserScriptError")
    for columns, code in ((["question"], Code.TRAINING_COLUMN_MISSING), ([], Code.TRAINING_FAILED)):
        with pytest.raises(TrainingFailed) as failure:
            training_progress(job, lambda name: ["KeyError: 'question'"], columns)
        assert failure.value.code == code


def pending_job(status: str, minutes: float, **changes: Any) -> dict[str, Any]:
    """A job that may wait an hour for instances, and was last seen after so many minutes."""
    return any_job(
        status,
        CreationTime=NOW,
        LastModifiedTime=NOW + timedelta(minutes=minutes),
        StoppingCondition={"MaxPendingTimeInSeconds": 3600},
        **changes,
    )


@pytest.mark.parametrize("status", ["Stopped", "Failed"])
def test_a_job_that_ended_after_waiting_for_instances_may_be_tried_elsewhere(status: str) -> None:
    progress = training_progress(pending_job(status, 60), no_log)
    assert (progress.outcome, progress.message) == (
        Outcome.RETRY_ELSEWHERE,
        "The job job got no instances within 60 minutes",
    )
    ended_early = pending_job(status, 61, TrainingEndTime=NOW + timedelta(minutes=59))
    for other in (pending_job(status, 59), ended_early, pending_job(status, 61, TrainingStartTime=NOW)):
        with pytest.raises(TrainingFailed):
            training_progress(other, no_log)


def test_a_job_is_overdue_when_sagemaker_should_have_ended_it() -> None:
    job = pending_job("InProgress", 1)
    assert [is_overdue(job, NOW + timedelta(minutes=minutes)) for minutes in (60, 64, 65)] == [False, False, True]
    late = NOW + timedelta(days=2)
    assert not is_overdue({**job, "TrainingStartTime": NOW}, late)
    assert not is_overdue({**job, "TrainingJobStatus": "Stopping"}, late)
    assert not is_overdue({**job, "ResourceConfig": {"TrainingPlanArn": "arn"}}, late), "its plan may begin later"
    assert not is_overdue({**job, "StoppingCondition": {}}, late), "a job of an earlier version may wait"


@pytest.mark.parametrize("reason", CAPACITY_REASONS)
def test_every_known_wording_of_missing_capacity_is_recognised(reason: str) -> None:
    assert is_capacity_error(reason.format(instance_type="ml.p5.48xlarge"))


@pytest.mark.parametrize("status", ["InService", "Failed", "UpdateRollbackFailed", "OutOfService"])
def test_an_endpoint_that_is_not_changing_can_be_deleted(status: str) -> None:
    assert can_be_deleted(status)


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"])
def test_an_endpoint_that_is_changing_or_being_deleted_is_left_alone(status: str) -> None:
    assert not can_be_deleted(status)


def any_endpoint(status: str, config: str = "new") -> dict[str, Any]:
    return {"EndpointName": "endpoint", "EndpointStatus": status, "EndpointConfigName": config}


def look_at(endpoint: dict[str, Any], minutes: float = 1, began: datetime | None = None) -> Outcome:
    """What an endpoint means that may take an hour, so long after its last change."""
    changed = {"LastModifiedTime": NOW - timedelta(minutes=minutes)}
    return endpoint_outcome(endpoint | changed, "new", NOW, 3600, began)


def test_an_endpoint_over_its_time_limit_has_failed() -> None:
    assert look_at(any_endpoint("Creating"), minutes=60) is Outcome.IN_PROGRESS
    with pytest.raises(EndpointFailed, match="after 91 minutes") as failure:
        look_at(any_endpoint("Creating"), minutes=91)
    assert failure.value.code == Code.ENDPOINT_OUT_OF_TIME


def test_an_endpoint_serves_when_it_has_the_runs_own_configuration() -> None:
    assert look_at(any_endpoint("InService", "new")) is Outcome.IN_SERVICE
    assert look_at(any_endpoint("Updating", "old")) is Outcome.IN_PROGRESS


def test_an_update_that_rolled_back_without_an_error_is_noticed() -> None:
    with pytest.raises(EndpointFailed) as failure:
        look_at(any_endpoint("InService", "old"))
    assert "old, which serves as before" in failure.value.message
    assert failure.value.code == Code.ENDPOINT_ROLLED_BACK


@pytest.mark.parametrize("status", ["InService", "Failed"])
def test_a_lack_of_capacity_is_no_defect_of_the_model(status: str) -> None:
    with pytest.raises(EndpointFailed, match="no capacity for the endpoint endpoint: Insuff") as failure:
        look_at(any_endpoint(status, "old") | {"FailureReason": "InsufficientInstanceCapacity: try later"})
    assert failure.value.code == Code.ENDPOINT_NO_CAPACITY
    assert "`finetune deploy RUN --instance-type TYPE`" in failure.value.fix


def test_an_update_may_take_two_minutes_to_show() -> None:
    requested = NOW - timedelta(seconds=UPDATE_SHOWN_SECONDS)
    assert look_at(any_endpoint("InService", "old"), began=requested) is Outcome.IN_PROGRESS
    with pytest.raises(EndpointFailed, match="rolled back to old"):
        look_at(any_endpoint("InService", "old"), began=requested - timedelta(seconds=1))


def test_a_reason_that_is_not_older_than_the_update_ends_the_wait_for_it() -> None:
    """The endpoint of each look changed a minute ago."""
    failed = any_endpoint("InService", "old") | {"FailureReason": "did not pass the ping health check"}
    assert look_at(failed, began=NOW - timedelta(seconds=59)) is Outcome.IN_PROGRESS, "the reason of an earlier update"
    with pytest.raises(EndpointFailed, match=r"old.* did not pass the ping health check"):
        look_at(failed, began=NOW - timedelta(seconds=60))


CAPTURE = "s3://my-bucket/runs/pirate-0a1b2c3d/capture"


def capturing(percentage: int, *, enabled: bool = True) -> dict[str, Any]:
    config = {"EnableCapture": enabled, "DestinationS3Uri": CAPTURE, "CurrentSamplingPercentage": percentage}
    return {"EndpointName": "endpoint", "DataCaptureConfig": config}


def refusal_of(endpoint: dict[str, Any], destination: str | None, percentage: int) -> Code | str | None:
    """The code of the error, or None if the endpoint is accepted."""
    try:
        require_capture(endpoint, destination, percentage)
    except EndpointFailed as failure:
        return failure.code
    return None


def test_an_endpoint_that_stores_what_the_run_asks_for_is_accepted() -> None:
    assert refusal_of(capturing(20), CAPTURE, 20) is None
    assert refusal_of(capturing(20, enabled=False), None, 0) is None
    assert refusal_of({"EndpointName": "endpoint"}, None, 0) is None
    assert refusal_of(capturing(20), CAPTURE, 21) == Code.ENDPOINT_CAPTURE_DIFFERS


@pytest.mark.parametrize(
    ("endpoint", "destination", "percentage", "words"),
    [
        (capturing(20), None, 0, f"stores 20 % of the invocations in {CAPTURE} instead of no invocations."),
        (capturing(20), CAPTURE, 5, f"in {CAPTURE} instead of 5 % of the invocations in {CAPTURE}."),
        (capturing(5, enabled=False), CAPTURE, 5, "stores no invocations instead of 5 % of the invocations"),
        ({"EndpointName": "endpoint"}, CAPTURE, 5, "stores no invocations instead of 5 % of the invocations"),
        (capturing(5), f"{CAPTURE}-2", 5, f"in {CAPTURE} instead of 5 % of the invocations in {CAPTURE}-2."),
    ],
)
def test_an_endpoint_that_stores_something_else_has_failed(
    endpoint: dict[str, Any], destination: str | None, percentage: int, words: str
) -> None:
    with pytest.raises(EndpointFailed) as failure:
        require_capture(endpoint, destination, percentage)
    assert failure.value.code == Code.ENDPOINT_CAPTURE_DIFFERS
    assert words in failure.value.message
    assert "`finetune rollback endpoint`" in failure.value.fix


def test_an_endpoint_is_on_the_types_of_its_pools_that_have_instances() -> None:
    pools = [{"InstanceType": P4D, "CurrentInstanceCount": 1}, {"InstanceType": "a"}]
    more = [{"InstanceType": "b", "CurrentInstanceCount": 0}, {"InstanceType": "c", "CurrentInstanceCount": 2}]
    variants = [{"InstancePools": pools}, {"VariantName": "single"}, {"InstancePools": more}]
    assert pooled_types({"ProductionVariants": variants}) == [P4D, "c"]
    assert pooled_types({}) == []


def test_a_failed_endpoint_gives_sagemakers_reason() -> None:
    with pytest.raises(EndpointFailed, match="did not pass the ping health check") as failure:
        look_at(any_endpoint("Failed") | {"FailureReason": "did not pass the ping health check"})
    assert failure.value.code == Code.ENDPOINT_FAILED


def test_a_completed_job_ends_the_wait_with_its_last_metrics() -> None:
    metric = {"MetricName": "eval-loss", "Value": 0.5, "Timestamp": NOW}
    progress = training_progress(any_job("Completed", FinalMetricDataList=[metric]), no_log)
    assert progress.outcome is Outcome.COMPLETED
    assert "completed" in progress.message
    assert [metric.value for metric in progress.metrics] == [0.5]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_is_left_out_because_json_has_none(value: float) -> None:
    """status.json would hold null in its place, and no later step could read it."""
    metrics = [{"MetricName": name, "Value": each, "Timestamp": NOW} for name, each in (("a", value), ("b", 0.5))]
    progress = training_progress(any_job("Completed", FinalMetricDataList=metrics), no_log)
    assert [(metric.name, metric.value) for metric in progress.metrics] == [("b", 0.5)]


@pytest.mark.parametrize(
    ("reported", "artifact"),
    [
        ({}, ""),
        ({"ModelArtifacts": {"S3ModelArtifacts": "s3://b/model"}}, "s3://b/model/"),
        ({"ModelArtifacts": {"S3ModelArtifacts": "s3://b/model/"}}, "s3://b/model/"),
    ],
)
def test_the_files_of_a_completed_job_are_below_a_prefix(reported: dict[str, Any], artifact: str) -> None:
    assert training_progress(any_job("Completed", **reported), no_log).artifact == artifact


@pytest.mark.parametrize(
    ("resources", "selected"),
    [
        ({"ResourceConfig": {"InstanceType": "ml.g5.12xlarge"}}, "ml.g5.12xlarge"),
        ({"ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "SelectedInstanceType": P4D}}, P4D),
        ({"ResourceConfig": {"InstancePools": []}}, None),
        ({}, None),
    ],
)
def test_the_type_of_a_job_is_the_one_that_sagemaker_selected(resources: dict[str, Any], selected: str | None) -> None:
    assert selected_type(any_job("InProgress", **resources)) == selected


def test_a_job_without_a_secondary_status_is_shown_by_its_status() -> None:
    assert training_progress(any_job("InProgress"), no_log).message == "InProgress"
    assert training_progress(any_job("InProgress", SecondaryStatus="Starting"), no_log).message == "Starting"


def test_a_job_without_capacity_keeps_sagemakers_answer() -> None:
    reason = "CapacityError: Unable to provision requested ML compute capacity."
    assert training_progress(any_job("Failed", FailureReason=reason), no_log).message == reason


def test_a_failed_job_without_a_reason_is_explained_by_its_last_step_and_the_log_of_its_own_name() -> None:
    read: list[str] = []
    job = any_job("Failed", SecondaryStatusTransitions=[{"Status": "Training", "StatusMessage": "exit code 137"}])
    with pytest.raises(TrainingFailed, match=r"job.*exit code 137"):
        training_progress(job, lambda name: read.append(name) or [])
    assert read == ["job"]
    with pytest.raises(TrainingFailed, match="gave no reason"):
        training_progress(any_job("Failed"), no_log)


@pytest.mark.parametrize(
    ("secondary", "fix"), [("MaxRuntimeExceeded", "training.max_runtime_hours"), ("Stopped", "CloudTrail")]
)
def test_a_stopped_job_says_what_to_do_next(secondary: str, fix: str) -> None:
    with pytest.raises(TrainingFailed) as failure:
        training_progress(any_job("Stopped", SecondaryStatus=secondary), no_log)
    assert fix in failure.value.fix


@pytest.mark.parametrize(
    ("endpoint", "minutes", "fix"),
    [
        (any_endpoint("InService", "old"), 1, "finetune deploy"),
        (any_endpoint("Creating"), 91, "endpoint.instance_type"),
        (any_endpoint("Failed"), 1, "endpoint.instance_type"),
    ],
)
def test_a_failed_endpoint_says_what_to_do_next(endpoint: dict[str, Any], minutes: float, fix: str) -> None:
    with pytest.raises(EndpointFailed) as failure:
        look_at(endpoint, minutes)
    assert fix in failure.value.fix
    if endpoint["EndpointStatus"] != "Creating":
        assert "gave no reason" in failure.value.message


def test_an_endpoint_may_take_its_time_and_that_of_a_rollback_to_the_second() -> None:
    assert look_at(any_endpoint("Creating"), minutes=90) is Outcome.IN_PROGRESS


def test_a_failed_job_is_named() -> None:
    with pytest.raises(TrainingFailed, match="training job job failed"):
        training_progress(any_job("Failed", FailureReason="AlgorithmError"), no_log)
