"""StartTraining: starts the training job of plan.json on the instance type of this attempt."""

from datetime import UTC, datetime

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import NoCapacity
from finetuning.handlers.step import Payload, measure, step
from finetuning.metrics import ProductMetric
from finetuning.operations.run import Run, target
from finetuning.operations.run_end import ended, has_ended, require_running
from finetuning.planning import orders
from finetuning.report.console_links import training_job_link, training_log_link
from finetuning.runs.outcomes import Outcome
from finetuning.runs.plan import in_words
from finetuning.runs.status import Cost, Rung
from finetuning.runs.waiting import elapsed_seconds, next_rung, pending_seconds, wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, attempt}` → `{outcome, job_name, wait_seconds}`. Attempt 0 is the preferred instance type, 1 its first
    fallback. Raises `TrainingFailed` where AWS has no capacity and no attempt is left.
    """
    plan, attempt = run.plan, int(event["attempt"])
    spec, group, now = (
        read_model_spec(plan.model_id, plan.model_version),
        plan.training.group(attempt),
        datetime.now(UTC),
    )
    pending = pending_seconds(plan.training, elapsed_seconds(run.status, now))
    request = orders.training_job(spec, plan, target(), attempt, pending)
    name, option, types = request["TrainingJobName"], group[0], in_words(group)
    rung = Rung(
        attempt=attempt,
        instance_type=types,
        job_name=name,
        time=now,
        estimate_usd=option.estimate.usd,
    )
    require_running(run)
    try:
        sagemaker().create_training_job(request)
    except NoCapacity as refusal:
        rung = rung.model_copy(update={"outcome": "no_capacity", "message": refusal.message})
        status = run.record(refusal.message, rung=rung)
        pause = next_rung(status, plan.training, rung, now)
        return {"outcome": Outcome.RETRY_ELSEWHERE, "job_name": name, "wait_seconds": pause, **status.shown}
    if has_ended(run):
        raise ended(run, *([f"Stopped the training job {name}"] if sagemaker().stop_training_job(name) else []))
    measure({ProductMetric.TRAINING_ESTIMATED_USD: option.estimate.usd})
    region = settings().aws_region
    status = run.record(
        f"Training on {types}",
        rung=rung,
        training_job=name,
        first_steps=None,
        last_steps=None,
        cost=Cost(estimate_usd=option.estimate.usd, assumptions=option.estimate.assumptions),
        links={"Training job": training_job_link(region, name), "Training log": training_log_link(region, name)},
    )
    return {"outcome": Outcome.IN_PROGRESS, "job_name": name, "wait_seconds": wait_seconds(0), **status.shown}
