"""DeployEndpoint: creates model, configuration and endpoint, live or temporary for an evaluation."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

from finetuning.aws.jumpstart_bucket import read_model_spec
from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, FineTuningError
from finetuning.handlers.step import Payload, step
from finetuning.jumpstart.requests import Hosting, Request, endpoint, endpoint_config
from finetuning.jumpstart.spec import ModelSpec
from finetuning.operations.clean_up import NEVER_SERVED, let_expire
from finetuning.operations.endpoint_turns import require_patience, run_ahead, standing_temporaries
from finetuning.operations.endpoint_updates import Fleet, create_or_update
from finetuning.operations.run import Run, target
from finetuning.operations.run_end import ended, has_ended, require_running
from finetuning.planning import orders
from finetuning.report.console_links import endpoint_link
from finetuning.runs.outcomes import Outcome
from finetuning.runs.ownership import owners_after, owners_tag, refusal
from finetuning.runs.status import RunStatus
from finetuning.runs.tags import ENDPOINT_TAG, OWNER_TAG, REPLACES_TAG, RUN_TAG
from finetuning.runs.waiting import patient_pause, wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base"}` → `{outcome, wait_seconds, instance_type}`.

    The outcome is `waiting` while the endpoint is another run's or is being changed, or an endpoint that this run does
    not need any more is being deleted; then the step is repeated. The base model waits for the tuned one, whose turn at
    its endpoint may be hours away. Otherwise it is `go`.
    """
    variant, plan, now = event["variant"], run.plan, datetime.now(UTC)
    here, api = target(), sagemaker()
    hosting = orders.hosting(variant, plan, here)
    require_running(run)
    if variant == "base":
        status = run.status
        if status.deployment_began is None or _obstacle(run, variant, hosting.endpoint, now):
            waited = now - (status.endpoint_wait_began or now)
            return _waiting(hosting, patient_pause(waited.total_seconds()), status)
    elif obstacle := _obstacle(run, variant, hosting.endpoint, now):
        return _wait(run, hosting, obstacle, now)
    if variant == "live":
        hosting = _for_its_owners(run, hosting)
    try:
        _deploy(run, variant, hosting)
    except FineTuningError as error:
        if variant != "live" or error.code not in (Code.ENDPOINT_BUSY, Code.QUOTA_EXCEEDED):
            raise
        leaving = ", ".join(standing_temporaries(api, run.names))
        if error.code == Code.QUOTA_EXCEEDED and not leaving:
            raise
        return _wait(run, hosting, leaving or f"the endpoint {hosting.endpoint}, which is being changed", now)
    status = run.status
    link = {f"{variant.capitalize()} endpoint": endpoint_link(settings().aws_region, hosting.endpoint)}
    types = " or ".join(hosting.pools or [hosting.instance_type])
    message = f"Deploying {hosting.endpoint} on {hosting.instance_count} × {types}"
    changes: Payload = {} if variant == "base" else {"endpoint_wait_began": None, "deployment_began": now}
    if variant == "live":
        changes["endpoint"] = hosting.endpoint
    status = run.record(message, links=link, **changes)
    return {
        "outcome": Outcome.GO,
        "instance_type": hosting.instance_type,
        "wait_seconds": wait_seconds(0),
        **status.shown,
    }


def _for_its_owners(run: Run, hosting: Hosting) -> Hosting:
    """The same, with the owners that the live endpoint keeps. Another run may have created it since the preflight."""
    live = sagemaker().describe_endpoint(hosting.endpoint)
    if live is None:
        return hosting
    plan, tags = run.plan, sagemaker().tags(live["EndpointArn"])
    if OWNER_TAG in tags and (
        refused := refusal(hosting.endpoint, plan.uploader, tags, settings().endpoint_replacement)
    ):
        raise FineTuningError(refused.code, refused.message, refused.fix, field=refused.field)
    return replace(hosting, tags={**hosting.tags, **owners_tag(owners_after(plan.owners, tags))})


def _obstacle(run: Run, variant: str, endpoint: str, now: datetime) -> str | None:
    """What the deployment has to wait for, in words. Starts to delete an endpoint that failed: SageMaker allows nothing
    else with one.
    """
    api = sagemaker()
    if variant == "live":
        for name, state in standing_temporaries(api, run.names).items():
            if state == "Deleting":
                return f"the deletion of {name}"
        if run.plan.endpoint.name and (other := run_ahead(run, endpoint, now)):
            return f"the run {other}, which deploys to {endpoint} first"
    live = api.describe_endpoint(endpoint)
    if live is None:
        return None
    if live["EndpointStatus"] == "Failed" and _may_replace(run, endpoint, api.tags(live["EndpointArn"])):
        api.delete_endpoint(endpoint)
        if variant == "base":  # on another instance type it is another model of the same name
            api.delete_model(endpoint)
        return f"the deletion of {endpoint}, which failed"
    return f"the deletion of {endpoint}" if live["EndpointStatus"] == "Deleting" else None


def _may_replace(run: Run, endpoint: str, tags: Mapping[str, str]) -> bool:
    """Whether the run may replace the endpoint with these tags: one of its own, or of this stage and its owners."""
    if tags.get(RUN_TAG) == run.run_id:
        return True
    refused = refusal(endpoint, run.plan.uploader, tags, settings().endpoint_replacement)
    return tags.get(OWNER_TAG) == settings().prefix and refused is None


def _wait(run: Run, hosting: Hosting, obstacle: str, now: datetime) -> Payload:
    waited = require_patience(run.status, hosting.endpoint, now)
    message = f"Waiting for {obstacle}"
    status = run.record(message, progress=message, endpoint_wait_began=now - waited)
    return _waiting(hosting, wait_seconds(waited.total_seconds()), status)


def _waiting(hosting: Hosting, seconds: int, status: RunStatus) -> Payload:
    return {
        "outcome": Outcome.WAITING,
        "instance_type": hosting.instance_type,
        "wait_seconds": seconds,
        **status.shown,
    }


def _deploy(run: Run, variant: orders.Variant, hosting: Hosting) -> None:
    plan, api, here = run.plan, sagemaker(), target()
    spec = read_model_spec(plan.model_id, plan.model_version)
    if variant == "base":
        api.create_model(orders.base_model(spec, plan, here))
    else:
        for request in orders.tuned_models(spec, plan, here, run.tuned_model):
            api.create_model(request)
    replaced = _replaced(hosting) if variant == "live" else None
    if variant == "live":
        _deploy_live(run, hosting, endpoint_config(spec, hosting, here), endpoint(spec, hosting), replaced)
    elif api.describe_endpoint(hosting.endpoint) is None:
        api.create_endpoint_config(endpoint_config(spec, hosting, here))
        api.create_endpoint(endpoint(spec, hosting))
    if has_ended(run):
        _take_back(run, hosting, spec, replaced)


def _take_back(run: Run, hosting: Hosting, spec: ModelSpec, replaced: str | None) -> NoReturn:
    """Lets an endpoint that was just created expire at once. An update goes on, because it cannot be interrupted: the
    run's status says how to undo it, and what `finetune clean-up` may have deleted just before is restored for that.
    """
    name = hosting.endpoint
    created = sagemaker().describe_endpoint(name)
    if created is not None and created["EndpointStatus"] in NEVER_SERVED:
        raise ended(run, *let_expire(sagemaker(), name))
    for request in orders.tuned_models(spec, run.plan, target(), run.tuned_model):
        sagemaker().create_model(request)
    _configure(hosting, endpoint_config(spec, hosting, target()), replaced)
    undo = f"finetune rollback {name} --stage {settings().stage}"
    run.record(f"The endpoint {name} is updated to this run's model although the run ended: `{undo}` undoes that")
    raise ended(run)


def _deploy_live(run: Run, hosting: Hosting, config: Request, request: Request, replaced: str | None) -> None:
    api, stage = sagemaker(), settings()
    _configure(hosting, config, replaced)
    wanted = run.plan.endpoint
    fleet = Fleet(hosting.instance_count, wanted.autoscaling is not None, wanted.timeout_seconds)
    create_or_update(api, run.store, request, stage.topic_arn, fleet)
    api.prune_configurations(stage.prefix, hosting.endpoint, hosting.config)


def _configure(hosting: Hosting, config: Request, replaced: str | None) -> None:
    """Creates the live endpoint's configuration; one kept from an earlier deployment of this run gets current tags."""
    api = sagemaker()
    made_for = {ENDPOINT_TAG: hosting.endpoint} | ({REPLACES_TAG: replaced} if replaced else {})
    api.tag(api.create_endpoint_config(config), dict(hosting.tags) | made_for)


def _replaced(hosting: Hosting) -> str | None:
    """The configuration that the endpoint serves, if it is not the run's own."""
    live = sagemaker().describe_endpoint(hosting.endpoint)
    return live["EndpointConfigName"] if live and live["EndpointConfigName"] != hosting.config else None
