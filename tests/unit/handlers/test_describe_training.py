"""DescribeTraining: what a job's state means for the run, and what it costs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetuning.errors import Code, TrainingFailed, TransientAwsError
from finetuning.handlers import describe_training
from finetuning.operations.run import Run
from finetuning.runs.layout import measurement
from finetuning.runs.names import Names
from finetuning.runs.plan import Measurement
from finetuning.runs.status import Cost
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke, metric
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID

JOB = Names(PREFIX, RUN_ID).training_job(0)
HOURLY = 37.69
"""USD an hour, of the first instance type of `any_plan`."""


def described(cloud: FakeAws, attempt: int = 0, **job: Any) -> dict[str, Any]:
    """The result for a job as SageMaker describes it."""
    cloud.sagemaker.things["training_job"].pop(JOB, None)
    cloud.sagemaker.add_job(JOB, **job)
    result: dict[str, Any] = invoke(describe_training, run_id=RUN_ID, job_name=JOB, attempt=attempt)
    return result


def test_a_job_in_progress_is_waited_for_and_its_metrics_are_kept(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    loss = {"MetricName": "eval-loss", "Value": 1.5, "Timestamp": hours_ago(0)}
    result = described(cloud, SecondaryStatus="Downloading", FinalMetricDataList=[loss])
    assert (result["outcome"], result["message"]) == ("in_progress", "Downloading")
    assert [(metric.name, metric.value) for metric in run.status.metrics] == [("eval-loss", 1.5)]
    assert [rung.outcome for rung in run.status.ladder] == ["running"]


def test_a_completed_job_costs_what_was_billed(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = any_run(memory)
    result = described(cloud, TrainingJobStatus="Completed", BillableTimeInSeconds=1800, TrainingTimeInSeconds=1700)
    output = capsys.readouterr().out
    assert result["outcome"] == "completed"
    assert run.status.cost.actual_usd == metric(output, "TrainingActualUsd") == round(HOURLY / 2, 2)
    assert metric(output, "TrainingDuration") == 1700
    assert [rung.outcome for rung in run.status.ladder] == ["completed"]


NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def logged(cloud: FakeAws, *steps: tuple[int, int, int]) -> None:
    """Lets the job's log have these steps of 3 × 100: minutes after noon, epoch, step."""
    cloud["logs"].answers["describe_log_streams"] = {"logStreams": [{"logStreamName": f"{JOB}/a"}]}
    cloud["logs"].answers["get_log_events"] = {
        "events": [
            {
                "timestamp": round((NOON + timedelta(minutes=minutes)).timestamp() * 1000),
                "message": f"Training Epoch: {epoch}/3, step {step - 1}/100 completed (loss: 1.7125)",
            }
            for minutes, epoch, step in steps
        ]
    }


DATASET = {"train_rows": 100, "validation_rows": 5, "train_tokens": 360_000}
COMPLETED = {
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "TrainingStartTime": NOON - timedelta(minutes=40),
    "ResourceConfig": {"InstanceType": "ml.p4d.24xlarge"},
}


def measured(memory: MemoryStore, run: Run) -> Measurement | None:
    return memory.find(measurement(run.plan.model_id, "ml.p4d.24xlarge"), Measurement)


def test_the_steps_of_the_log_are_progress_and_measure_the_training(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, dataset=DATASET)
    logged(cloud, (0, 1, 30))
    described(cloud, SecondaryStatus="Training")
    logged(cloud, (30, 1, 90), (60, 2, 50))
    described(cloud, SecondaryStatus="Training")
    assert run.status.progress == "Epoch 2 of 3, step 50 of 100, loss 1.7125"
    logged(cloud)
    described(cloud, **COMPLETED)
    kept = measured(memory, run)
    assert kept is not None
    # 40 % of three epochs of 360,000 tokens in an hour; the first 10 % took a quarter of an hour.
    assert kept.tokens_per_second == pytest.approx(120)
    assert kept.start_seconds == pytest.approx(25 * 60)
    assert run.status.progress == ""


def test_a_training_that_was_over_before_its_log_was_read_is_measured_from_its_last_lines(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = any_run(memory, dataset=DATASET)
    logged(cloud, (0, 1, 30), (60, 2, 50))
    described(cloud, **COMPLETED)
    kept = measured(memory, run)
    assert kept is not None
    assert kept.tokens_per_second == pytest.approx(120)


@pytest.mark.parametrize("steps", [[(0, 3, 100)], [(0, 3, 99), (0, 3, 100)]])
def test_one_step_or_two_logged_at_once_measure_nothing(
    cloud: FakeAws, memory: MemoryStore, steps: list[tuple[int, int, int]]
) -> None:
    run = any_run(memory, dataset=DATASET)
    logged(cloud, *steps)
    described(cloud, **COMPLETED)
    assert measured(memory, run) is None
    assert run.status.last_steps is not None


def test_a_training_whose_log_shows_no_steps_is_not_measured(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory, dataset={"train_rows": 1, "validation_rows": 0, "train_tokens": 10})
    described(cloud, TrainingJobStatus="Completed", TrainingStartTime=hours_ago(1))
    assert not [key for key in memory.objects if key.startswith("measurements/")]
    assert run.status.last_steps is None


@pytest.mark.parametrize("reported", ["s3://bucket/elsewhere/model", "s3://bucket/elsewhere/model/"])
def test_the_model_is_where_the_completed_job_says_it_is(cloud: FakeAws, memory: MemoryStore, reported: str) -> None:
    run = any_run(memory)
    described(cloud, TrainingJobStatus="Completed", ModelArtifacts={"S3ModelArtifacts": reported})
    assert run.tuned_model == "s3://bucket/elsewhere/model/"


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_job_without_a_model_was_paid_for_as_well(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    run = any_run(memory)
    with pytest.raises(TrainingFailed):
        described(cloud, TrainingJobStatus=status, BillableTimeInSeconds=3600, TrainingTimeInSeconds=3500)
    assert run.status.cost.actual_usd == HOURLY
    assert metric(capsys.readouterr().out, "TrainingActualUsd") == HOURLY
    assert [rung.outcome for rung in run.status.ladder] == ["failed"]


def test_a_running_job_is_not_counted_in_the_metrics_yet(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = any_run(memory)
    described(cloud, BillableTimeInSeconds=3600)
    assert run.status.cost.actual_usd == HOURLY
    assert metric(capsys.readouterr().out, "TrainingActualUsd") is None


def test_a_lack_of_capacity_leads_to_the_next_attempt(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    result = described(cloud, TrainingJobStatus="Failed", FailureReason="CapacityError: no ml.p4d.24xlarge")
    assert (result["outcome"], result["wait_seconds"]) == ("retry_elsewhere", 5)
    assert [rung.outcome for rung in run.status.ladder] == ["no_capacity"]


def test_a_lack_of_capacity_at_the_last_attempt_fails_the_run(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    with pytest.raises(TrainingFailed) as failed:
        described(cloud, attempt=1, TrainingJobStatus="Failed", FailureReason="CapacityError: no ml.g5.48xlarge")
    assert failed.value.code == Code.TRAINING_NO_CAPACITY


def test_a_job_that_waits_too_long_for_instances_is_stopped(cloud: FakeAws, memory: MemoryStore) -> None:
    run, limit = any_run(memory), {"MaxPendingTimeInSeconds": 1800}
    result = described(cloud, CreationTime=hours_ago(1), StoppingCondition=limit, SecondaryStatus="Pending")
    assert (result["outcome"], result["message"]) == (
        "in_progress",
        "No instances in time: stopping the job. It was Pending",
    )
    assert [call["TrainingJobName"] for call in cloud.sagemaker.requests("stop_training_job")] == [JOB]
    cloud.sagemaker.things["training_job"][JOB]["TrainingJobStatus"] = "Stopped"
    result = invoke(describe_training, run_id=RUN_ID, job_name=JOB, attempt=0)
    assert result["outcome"] == "retry_elsewhere"
    assert run.status.cost.actual_usd is None


def test_a_job_costs_what_the_type_that_it_got_costs(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    run.record("", cost=Cost(estimate_usd=41.1))
    other = run.plan.training.options[1]
    resources = {"InstancePreferences": [], "SelectedInstanceType": other.instance_type}
    described(cloud, ResourceConfig=resources, BillableTimeInSeconds=3600)
    assert run.status.cost.actual_usd == other.estimate.usd_per_hour
    assert run.status.cost.estimate_usd == other.estimate.usd
    assert [rung.instance_type for rung in run.status.ladder] == [other.instance_type]


def test_a_failed_job_is_explained_by_the_end_of_its_log(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    logs = cloud["logs"].answers
    logs["describe_log_streams"] = {"logStreams": [{"logStreamName": f"{JOB}/algo-1", "lastEventTimestamp": 1}]}
    line = {"message": "torch.cuda.OutOfMemoryError: CUDA out of memory.", "timestamp": 0}
    logs["get_log_events"] = {"events": [line]}
    with pytest.raises(TrainingFailed) as failed:
        described(cloud, TrainingJobStatus="Failed", FailureReason="AlgorithmError: exit code 1")
    assert failed.value.code == Code.TRAINING_OUT_OF_MEMORY


def test_a_job_that_is_not_found_is_looked_for_again_before_it_fails_the_run(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    """It was created seconds ago, and SageMaker's reads are eventually consistent."""
    any_run(memory)
    with pytest.raises(TransientAwsError, match=r"TRAINING_FAILED.*does not exist"):
        invoke(describe_training, run_id=RUN_ID, job_name=JOB, attempt=0)
