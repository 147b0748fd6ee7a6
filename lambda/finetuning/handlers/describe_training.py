"""DescribeTraining: records the job's progress and cost in status.json, and decides what follows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from finetuning.aws.logs import log_tail
from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, TrainingFailed
from finetuning.handlers.step import Payload, measure, step
from finetuning.metrics import ProductMetric
from finetuning.operations.run import Run
from finetuning.runs.outcomes import Outcome, training_progress
from finetuning.runs.status import Rung
from finetuning.runs.waiting import elapsed_seconds, next_rung, wait_seconds

ENDED = ("Completed", "Failed", "Stopped")
RUNG_OUTCOMES = {Outcome.COMPLETED: "completed", Outcome.RETRY_ELSEWHERE: "no_capacity"}


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, job_name, attempt}` → `{outcome, wait_seconds}`. Raises `TrainingFailed` for a job without a model, and
    where AWS has no capacity and no attempt is left.
    """
    job_name, attempt, now = event["job_name"], int(event["attempt"]), datetime.now(UTC)
    option = run.plan.training.option(attempt)
    job = sagemaker().describe_training_job(job_name)
    if job is None:
        raise TrainingFailed(
            Code.TRAINING_FAILED,
            f"The training job {job_name} does not exist any more.",
            "It was deleted while it was running. Start over with `finetune submit --again RUN`.",
        )
    usd = _billed_usd(job, option.estimate.usd_per_hour)
    if job["TrainingJobStatus"] in ENDED:
        # Before a failed job raises an error: it was paid for as well.
        measure(
            {ProductMetric.TRAINING_ACTUAL_USD: usd, ProductMetric.TRAINING_DURATION: job.get("TrainingTimeInSeconds")}
        )
    cost = run.status.cost
    if usd is not None:
        cost.actual_usd = usd
    rung = Rung(
        attempt=attempt,
        instance_type=option.instance_type,
        job_name=job_name,
        time=now,
        estimate_usd=option.estimate.usd,
    )
    try:
        progress = training_progress(job, log_tail)
    except TrainingFailed as failure:
        failed = rung.model_copy(update={"outcome": "failed", "message": failure.message})
        run.record("", rung=failed, cost=cost)
        raise
    rung = rung.model_copy(
        update={"outcome": RUNG_OUTCOMES.get(progress.outcome, "running"), "message": progress.message}
    )
    status = run.record(progress.message, rung=rung, metrics=progress.metrics, cost=cost)
    if progress.outcome is Outcome.RETRY_ELSEWHERE:
        return {
            "outcome": progress.outcome,
            "wait_seconds": next_rung(status, run.plan.training, rung, now),
            **status.shown,
        }
    return {"outcome": progress.outcome, "wait_seconds": wait_seconds(elapsed_seconds(status, now)), **status.shown}


def _billed_usd(job: Mapping[str, Any], usd_per_hour: float | None) -> float | None:
    """The cost so far in USD; None until instances run, or without a known price."""
    seconds = job.get("BillableTimeInSeconds")
    return None if seconds is None or usd_per_hour is None else round(usd_per_hour * seconds / 3600, 2)
