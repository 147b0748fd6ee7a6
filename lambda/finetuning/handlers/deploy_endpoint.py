"""DeployEndpoint: model, configuration, endpoint; for the tuned model, or for the base model it is compared with."""

from finetuning.aws.deployment import target
from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import read_status, record
from finetuning.aws.store import run_store
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.requests import endpoint, endpoint_config
from finetuning.runs import requests
from finetuning.runs.layout import RunLayout
from finetuning.runs.links import endpoint_link
from finetuning.runs.outcomes import wait_seconds
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "DeployEndpoint"

BLUE_GREEN = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300},
        "TerminationWaitInSeconds": 0,
    },
}
"""How an endpoint that serves is updated: the new fleet takes all traffic once it is healthy, and is watched for five
minutes before the old one goes. SageMaker goes back by itself when the new fleet does not become healthy."""


@step
def handler(event: Payload) -> Payload:
    """`{run_id, variant: "tuned"|"base"}` → `{wait_seconds}`."""
    run_id, base, store = event["run_id"], event["variant"] == "base", run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    spec, here = read_model_spec(plan.model_id, plan.model_version), target()
    status = read_status(store, run_id)
    if base:
        model, hosting = requests.base_model(spec, plan, here), requests.base(plan, here)
    else:
        model = requests.tuned_model(spec, plan, here, status.training_job)
        hosting = requests.tuned(plan, here)
    api = sagemaker()
    api.create_model(model)
    api.create_endpoint_config(endpoint_config(spec, hosting, here))
    api.deploy_endpoint(endpoint(spec, hosting), BLUE_GREEN)
    link = {f"{'Base' if base else 'Tuned'} endpoint": endpoint_link(settings().aws_region, hosting.endpoint)}
    message = f"Deploying {hosting.endpoint} on {hosting.instance_type}"
    changes = {"links": status.links | link} if base else {"links": status.links | link, "endpoint": hosting.endpoint}
    status = record(store, run_id, STATE, message, **changes)
    return {"wait_seconds": wait_seconds(0), **status.shown}
