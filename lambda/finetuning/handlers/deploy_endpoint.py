"""DeployEndpoint: creates model, configuration and endpoint, live or temporary for an evaluation."""

from typing import NoReturn

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.requests import Hosting, Request, endpoint, endpoint_config
from finetuning.operations.clean_up import NEVER_SERVED, let_expire
from finetuning.operations.endpoint_updates import Fleet, create_or_update
from finetuning.operations.run import Run, target
from finetuning.operations.run_end import ended, has_ended, require_running
from finetuning.planning import orders
from finetuning.report.console_links import endpoint_link
from finetuning.runs.tags import ENDPOINT_TAG, REPLACES_TAG
from finetuning.runs.waiting import wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base"}` → `{wait_seconds}`."""
    variant, plan, status = event["variant"], run.plan, run.status
    spec, here = read_model_spec(plan.model_id, plan.model_version), target()
    hosting, api = orders.hosting(variant, plan, here), sagemaker()
    require_running(run)
    if variant == "base":
        api.create_model(orders.base_model(spec, plan, here))
    else:
        api.create_model(orders.tuned_model(spec, plan, here, run.tuned_model))
    if variant == "live":
        _deploy_live(run, hosting, endpoint_config(spec, hosting, here), endpoint(spec, hosting))
    elif api.describe_endpoint(hosting.endpoint) is None:
        api.create_endpoint_config(endpoint_config(spec, hosting, here))
        api.create_endpoint(endpoint(spec, hosting))
    if has_ended(run):
        _take_back(run, hosting)
    link = {f"{variant.capitalize()} endpoint": endpoint_link(settings().aws_region, hosting.endpoint)}
    message = f"Deploying {hosting.endpoint} on {hosting.instance_count} × {hosting.instance_type}"
    changes: Payload = {"endpoint": hosting.endpoint} if variant == "live" else {}
    status = run.record(message, links=status.links | link, **changes)
    return {"wait_seconds": wait_seconds(0), **status.shown}


def _take_back(run: Run, hosting: Hosting) -> NoReturn:
    """Lets an endpoint that was just created expire at once. An update goes on: it cannot be interrupted."""
    created = sagemaker().describe_endpoint(hosting.endpoint)
    is_new = created is not None and created["EndpointStatus"] in NEVER_SERVED
    raise ended(run, *(let_expire(sagemaker(), hosting.endpoint) if is_new else []))


def _deploy_live(run: Run, hosting: Hosting, config: Request, request: Request) -> None:
    api, stage = sagemaker(), settings()
    arn = api.create_endpoint_config(config)
    live = api.describe_endpoint(hosting.endpoint)
    made_for = {ENDPOINT_TAG: hosting.endpoint}
    if live and live["EndpointConfigName"] != hosting.config:
        made_for |= {REPLACES_TAG: live["EndpointConfigName"]}
    # A configuration kept from an earlier deployment of this run gets the current tags.
    api.tag(arn, dict(hosting.tags) | made_for)
    wanted = run.plan.endpoint
    fleet = Fleet(hosting.instance_count, wanted.autoscaling is not None, wanted.timeout_seconds)
    create_or_update(api, run.store, request, stage.topic_arn, fleet)
    api.prune_configurations(stage.prefix, hosting.endpoint, hosting.config)
