"""DeployEndpoint: model, configuration, endpoint; live, or temporary for an evaluation."""

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.run_store import RunStore, run_store
from finetuning.aws.sagemaker import ENDPOINT_TAG, REPLACES_TAG, sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.requests import Hosting, Request, endpoint, endpoint_config
from finetuning.operations.endpoint_updates import Fleet, create_or_update
from finetuning.operations.status_board import read_status, record
from finetuning.operations.target import target
from finetuning.planning import orders
from finetuning.report.console_links import endpoint_link
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.waiting import wait_seconds
from finetuning.settings import settings

STATE = "DeployEndpoint"


@step
def handler(event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base"}` → `{wait_seconds}`."""
    run_id, variant, store = event["run_id"], event["variant"], run_store()
    plan = store.load(RunLayout(run_id).plan, RunPlan)
    spec, here = read_model_spec(plan.model_id, plan.model_version), target()
    status = read_status(store, run_id)
    hosting, api = orders.hosting(variant, plan, here), sagemaker()
    if variant == "base":
        api.create_model(orders.base_model(spec, plan, here))
    else:
        api.create_model(orders.tuned_model(spec, plan, here, status.training_job))
    if variant == "live":
        _bring_live(store, hosting, plan, endpoint_config(spec, hosting, here), endpoint(spec, hosting))
    elif api.describe_endpoint(hosting.endpoint) is None:
        api.create_endpoint_config(endpoint_config(spec, hosting, here))
        api.create_endpoint(endpoint(spec, hosting))
    link = {f"{variant.capitalize()} endpoint": endpoint_link(settings().aws_region, hosting.endpoint)}
    message = f"Deploying {hosting.endpoint} on {hosting.instance_count} × {hosting.instance_type}"
    changes: Payload = {"endpoint": hosting.endpoint} if variant == "live" else {}
    status = record(store, run_id, STATE, message, links=status.links | link, **changes)
    return {"wait_seconds": wait_seconds(0), **status.shown}


def _bring_live(store: RunStore, hosting: Hosting, plan: RunPlan, config: Request, request: Request) -> None:
    api, stage = sagemaker(), settings()
    arn = api.create_endpoint_config(config)
    live = api.describe_endpoint(hosting.endpoint)
    made_for = {ENDPOINT_TAG: hosting.endpoint}
    if live and live["EndpointConfigName"] != hosting.config:
        made_for |= {REPLACES_TAG: live["EndpointConfigName"]}
    # A configuration kept from an earlier deployment of this run takes on the present terms.
    api.tag(arn, dict(hosting.tags) | made_for)
    scaled = plan.endpoint.autoscaling is not None
    fleet = Fleet(hosting.instance_count, scaled, plan.endpoint.timeout_seconds)
    create_or_update(api, store, request, stage.topic_arn, fleet)
    api.prune_configurations(stage.prefix, hosting.endpoint, hosting.config)
