"""DescribeTraining: records the job's progress and cost in status.json, and decides what follows."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from finetuning.aws.logs import log_lines, log_tail
from finetuning.aws.sagemaker import sagemaker
from finetuning.datasets.templates import template_columns
from finetuning.errors import Code, TrainingFailed, TransientAwsError
from finetuning.handlers.step import Payload, measure, step
from finetuning.metrics import ProductMetric
from finetuning.operations.run import Run
from finetuning.runs import layout
from finetuning.runs.outcomes import Outcome, is_overdue, selected_type, training_progress
from finetuning.runs.plan import Measurement, in_words
from finetuning.runs.status import Rung, RunStatus
from finetuning.runs.training_steps import read_steps, speed
from finetuning.runs.waiting import elapsed_seconds, next_rung, wait_seconds

ENDED = ("Completed", "Failed", "Stopped")
RUNG_OUTCOMES = {Outcome.COMPLETED: "completed", Outcome.RETRY_ELSEWHERE: "no_capacity"}


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, job_name, attempt}` → `{outcome, wait_seconds}`. Stops a job that waits too long for instances.

    Raises `TrainingFailed` for a job without a model, and where AWS has no capacity and no attempt is left.
    """
    job_name, attempt, now = event["job_name"], int(event["attempt"]), datetime.now(UTC)
    plan, api = run.plan.training, sagemaker()
    job = api.describe_training_job(job_name)
    if job is None:
        raise TransientAwsError(
            Code.TRAINING_FAILED,
            f"The training job {job_name} does not exist any more.",
            "It was deleted while it was running. Start over with `finetune submit --again RUN`.",
        )
    group, selected = plan.group(attempt), selected_type(job)
    option = plan.option_on(selected or "") or group[0]
    usd = _billed_usd(job, option.estimate.usd_per_hour)
    if job["TrainingJobStatus"] in ENDED:
        # Before a failed job raises an error: it was paid for as well.
        measure(
            {ProductMetric.TRAINING_ACTUAL_USD: usd, ProductMetric.TRAINING_DURATION: job.get("TrainingTimeInSeconds")}
        )
    # SageMaker may have selected another type than the preferred one.
    estimate = {"estimate_usd": option.estimate.usd, "assumptions": option.estimate.assumptions}
    cost = run.status.cost.model_copy(update=estimate | ({} if usd is None else {"actual_usd": usd}))
    rung = Rung(
        attempt=attempt,
        instance_type=selected or in_words(group),
        job_name=job_name,
        time=now,
        estimate_usd=option.estimate.usd,
    )
    try:
        progress = training_progress(
            job, log_tail, template_columns(template) if (template := run.plan.template) else ()
        )
    except TrainingFailed as failure:
        failed = rung.model_copy(update={"outcome": "failed", "message": failure.message})
        run.record("", rung=failed, cost=cost)
        raise
    if is_overdue(job, now):
        api.stop_training_job(job_name)
        progress = replace(progress, message=f"No instances in time: stopping the job. It was {progress.message}")
    rung = rung.model_copy(
        update={"outcome": RUNG_OUTCOMES.get(progress.outcome, "running"), "message": progress.message}
    )
    before = run.status
    # Also of a completed job: a short one may never have been seen while it trained.
    has_steps = job.get("SecondaryStatus") == "Training" or progress.outcome is Outcome.COMPLETED
    steps = read_steps(log_lines(job_name)) if has_steps else []
    first, last = [before.first_steps, *steps], [before.last_steps, *steps]
    status = run.record(
        progress.message,
        rung=rung,
        metrics=progress.metrics,
        cost=cost,
        model_artifact=progress.artifact,
        progress=str(steps[-1]) if steps and progress.outcome is Outcome.IN_PROGRESS else "",
        first_steps=next(filter(None, first), None),
        last_steps=last[-1],
    )
    if progress.outcome is Outcome.COMPLETED:
        _keep_measurement(run, job, status, now)
    if progress.outcome is Outcome.RETRY_ELSEWHERE:
        return {
            "outcome": progress.outcome,
            "wait_seconds": next_rung(status, plan, rung, now),
            **status.shown,
        }
    return {"outcome": progress.outcome, "wait_seconds": wait_seconds(elapsed_seconds(status, now)), **status.shown}


def _keep_measurement(run: Run, job: Mapping[str, Any], status: RunStatus, now: datetime) -> None:
    """Keeps what the training took, for the plans of later runs, if its log shows two steps.

    The job's own times would not do: they include the start-up, which can be longer than a short training.
    """
    instance_type, dataset, began = selected_type(job), run.plan.dataset, job.get("TrainingStartTime")
    if not (instance_type and dataset and began and status.first_steps and status.last_steps):
        return
    tokens = dataset.train_tokens * status.last_steps.epochs
    took = speed(status.first_steps, status.last_steps, began, tokens)
    if took:
        measurement = Measurement(tokens_per_second=took[0], start_seconds=took[1], run_id=run.run_id, measured_at=now)
        run.store.save(layout.measurement(run.plan.model_id, instance_type), measurement)


def _billed_usd(job: Mapping[str, Any], usd_per_hour: float | None) -> float | None:
    """The cost so far in USD; None until instances run, or without a known price."""
    seconds = job.get("BillableTimeInSeconds")
    return None if seconds is None or usd_per_hour is None else round(usd_per_hour * seconds / 3600, 2)
