"""StartTraining: asks SageMaker for the job that plan.json describes."""

from aws_lambda_powertools.metrics import MetricUnit

from finetuning.aws.deployment import target
from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import read_status, record
from finetuning.aws.store import run_store
from finetuning.handlers.step import Payload, measure, step
from finetuning.runs import requests
from finetuning.runs.layout import RunLayout
from finetuning.runs.links import training_job_link, training_log_link
from finetuning.runs.outcomes import wait_seconds
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "StartTraining"


@step
def handler(event: Payload) -> Payload:
    """`{run_id, attempt}` → `{job_name, wait_seconds}`. Attempt 0 is the preferred instance type, 1 its fallback."""
    run_id, attempt, store = event["run_id"], int(event["attempt"]), run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    spec = read_model_spec(plan.model_id, plan.model_version)
    request = requests.training_job(spec, plan, target(), attempt)
    sagemaker().create_training_job(request)
    name, instance_type = request["TrainingJobName"], request["ResourceConfig"]["InstanceType"]
    region = settings().aws_region
    estimate = plan.training.options[attempt].estimate
    measure(MetricUnit.NoUnit, TrainingEstimatedUsd=estimate.usd)
    status = read_status(store, run_id)
    record(
        store,
        run_id,
        STATE,
        f"Training on {instance_type}",
        training_job=name,
        cost=status.cost.model_copy(update={"estimate_usd": estimate.usd}),
        links=status.links
        | {"Training job": training_job_link(region, name), "Training log": training_log_link(region, name)},
    )
    return {"job_name": name, "wait_seconds": wait_seconds(0)}
