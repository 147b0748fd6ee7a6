"""StartTraining: the job of the attempt, its cost, and the way on without capacity."""

from collections.abc import Collection

import pytest

from finetuning.errors import Code, FineTuningError, TrainingFailed
from finetuning.handlers import start_training
from finetuning.runs.names import Names
from tests.builders.aws import FakeAws, ends
from tests.builders.handlers import invoke, metric
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan

NAMES = Names(PREFIX, RUN_ID)
NO_CAPACITY = "InsufficientInstanceCapacity", "no capacity"


@pytest.mark.parametrize(("attempt", "instance_type"), [(0, "ml.p4d.24xlarge"), (1, "ml.g5.48xlarge")])
def test_each_attempt_starts_a_job_of_its_own_on_its_instance_type(
    cloud: FakeAws, memory: MemoryStore, attempt: int, instance_type: str
) -> None:
    run = any_run(memory)
    result = invoke(start_training, run_id=RUN_ID, attempt=attempt)
    (job,) = cloud.sagemaker.requests("create_training_job")
    assert job["TrainingJobName"] == NAMES.training_job(attempt) == result["job_name"] == run.status.training_job
    assert job["ResourceConfig"]["InstanceType"] == instance_type
    assert (result["outcome"], result["wait_seconds"]) == ("in_progress", 2)


def test_the_estimate_of_the_attempt_is_in_status_and_metrics_with_links_to_the_job(
    cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = any_run(memory)
    run.record("", links={"Execution": "https://execution"})
    invoke(start_training, run_id=RUN_ID, attempt=1)
    estimate = run.plan.training.group(1)[0].estimate
    assert run.status.cost.estimate_usd == estimate.usd == metric(capsys.readouterr().out, "TrainingEstimatedUsd")
    assert run.status.cost.assumptions == estimate.assumptions
    assert run.status.links.keys() == {"Execution", "Training job", "Training log"}


def test_the_cost_of_the_attempt_before_is_not_that_of_this_one(cloud: FakeAws, memory: MemoryStore) -> None:
    """A job without capacity is billed for no time. A message about this one would say: 0.00 USD for training."""
    run = any_run(memory)
    run.record("", cost=run.status.cost.model_copy(update={"actual_usd": 0.0}))
    invoke(start_training, run_id=RUN_ID, attempt=1)
    assert run.status.cost.actual_usd is None


def test_a_repeated_step_finds_the_job_it_started(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    for _ in range(2):
        result = invoke(start_training, run_id=RUN_ID, attempt=0)
    assert result["outcome"] == "in_progress"
    assert cloud.sagemaker.names("training_job") == {NAMES.training_job(0)}


def test_without_capacity_the_next_attempt_follows_after_a_pause(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    cloud.sagemaker.refuse("create_training_job", *NO_CAPACITY)
    result = invoke(start_training, run_id=RUN_ID, attempt=0)
    assert (result["outcome"], result["wait_seconds"]) == ("retry_elsewhere", 5)
    assert [rung.outcome for rung in run.status.ladder] == ["no_capacity"]
    assert run.status.training_job == ""


def test_without_capacity_for_the_last_attempt_the_run_fails(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.refuse("create_training_job", *NO_CAPACITY)
    with pytest.raises(TrainingFailed) as failed:
        invoke(start_training, run_id=RUN_ID, attempt=1)
    assert failed.value.code == Code.TRAINING_NO_CAPACITY


def test_a_quota_is_not_a_lack_of_capacity(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.refuse("create_training_job", "ResourceLimitExceeded")
    with pytest.raises(FineTuningError) as failed:
        invoke(start_training, run_id=RUN_ID, attempt=0)
    assert failed.value.code == Code.QUOTA_EXCEEDED


def test_a_job_is_not_started_without_the_runs_plan(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    del memory.objects[run.layout.plan]
    with pytest.raises(FineTuningError) as failed:
        invoke(start_training, run_id=RUN_ID, attempt=0)
    assert failed.value.code == Code.INTERNAL_ERROR
    assert any_plan().run_id not in str(cloud.sagemaker.calls)


@pytest.mark.parametrize(("asked", "jobs"), [(0, {}), (1, {"Stopping"})])
def test_a_run_that_has_ended_pays_for_no_job(
    cloud: FakeAws, memory: MemoryStore, asked: int, jobs: Collection[str]
) -> None:
    run = any_run(memory)
    run.record("", execution_arn="arn:execution")
    cloud["stepfunctions"].answers["describe_execution"] = ends(asked)
    with pytest.raises(FineTuningError) as raised:
        invoke(start_training, run_id=RUN_ID, attempt=0)
    assert raised.value.code == Code.RUN_ABORTED
    assert ("Stopped the training job" in raised.value.message) is bool(jobs)
    assert {job["TrainingJobStatus"] for job in cloud.sagemaker.things["training_job"].values()} == set(jobs)
