"""DescribeTraining: where the job stands, told in status.json, and what the state machine does next."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import read_status, record
from finetuning.aws.store import run_store
from finetuning.errors import Code, TrainingFailed
from finetuning.handlers.step import Payload, measure, step
from finetuning.runs.layout import RunLayout
from finetuning.runs.outcomes import Outcome, training_progress, wait_seconds
from finetuning.runs.plan import RunPlan

STATE = "DescribeTraining"
ENDED = ("Completed", "Failed", "Stopped")


@step
def handler(event: Payload) -> Payload:
    """`{run_id, job_name, attempt}` → `{outcome, wait_seconds}`. Raises `TrainingFailed` for a job without a model."""
    run_id, job_name, attempt = event["run_id"], event["job_name"], int(event["attempt"])
    store = run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    job = sagemaker().describe_training_job(job_name)
    if job is None:
        raise TrainingFailed(
            Code.TRAINING_FAILED,
            f"The training job {job_name} is gone.",
            "Somebody deleted it while it ran. Upload the data again to start over.",
        )
    usd = _billed_usd(job, plan.training.options[attempt].estimate.usd_per_hour)
    if job["TrainingJobStatus"] in ENDED:
        # Before the job is judged: one that failed was paid for as well.
        measure(MetricUnit.NoUnit, TrainingActualUsd=usd)
        measure(MetricUnit.Seconds, TrainingDuration=job.get("TrainingTimeInSeconds"))
    progress = training_progress(job, datetime.now(UTC))
    instance_types = plan.training.instance_types
    if progress.outcome is Outcome.RETRY_ELSEWHERE and attempt + 1 >= len(instance_types):
        raise TrainingFailed(
            Code.TRAINING_NO_CAPACITY,
            f"AWS has no {instance_types[attempt]} free just now, and no other instance type is left to try: "
            + progress.message,
            "Upload again later, or list other types in training.fallback_instance_types of run.json.",
        )
    cost = read_status(store, run_id).cost
    if progress.billable_seconds is not None:
        cost.actual_usd = usd
    record(store, run_id, STATE, progress.message, metrics=progress.metrics, cost=cost)
    return {"outcome": progress.outcome, "wait_seconds": wait_seconds(progress.elapsed_seconds)}


def _billed_usd(job: Mapping[str, Any], usd_per_hour: float | None) -> float | None:
    """What SageMaker bills for so far; None until instances run, or without a price."""
    seconds = job.get("BillableTimeInSeconds")
    return None if seconds is None or usd_per_hour is None else round(usd_per_hour * seconds / 3600, 2)
