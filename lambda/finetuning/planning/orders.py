"""The requests of a run, from its plan, its names and the model's specification.

For an endpoint: `jumpstart.requests.endpoint_config(spec, hosting("live", plan, target), target)` and
`jumpstart.requests.endpoint(spec, hosting("live", plan, target))`; the other variants are temporary endpoints.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from finetuning.bedrock.requests import ImportJob
from finetuning.bedrock.requests import import_job as import_request
from finetuning.errors import Code, Finding
from finetuning.jumpstart import requests
from finetuning.jumpstart.constraints import violations
from finetuning.jumpstart.requests import Hosting, Request, TrainingJob
from finetuning.jumpstart.spec import ModelSpec
from finetuning.jumpstart.target import Target
from finetuning.planning.checklist import Checklist
from finetuning.runs.expiry import lifetime_tags
from finetuning.runs.layout import RunLayout
from finetuning.runs.ownership import owners_tag
from finetuning.runs.plan import RunPlan
from finetuning.runs.tags import (
    ENDPOINT_TAG,
    EULA_ACCEPTED_AT_TAG,
    EULA_ACCEPTED_BY_TAG,
    EULA_TAG,
    OWNER_TAG,
    RUN_TAG,
    STAGE_TAG,
)
from finetuning.runs.waiting import SHORTEST_PENDING

TEMPORARY_TTL_HOURS = 3
"""The run deletes its temporary endpoints itself. If it fails to, the sweeper deletes them after this time."""

MAX_TAG_VALUE = 256
"""Characters of a tag's value, and of a property's in the model registry."""

Variant = Literal["live", "candidate", "base"]
"""The endpoints of a run: the deployed one, and two temporary ones for its evaluation."""


OPERATIONS = {
    "create_training_job": ("sagemaker", "CreateTrainingJob"),
    "create_model": ("sagemaker", "CreateModel"),
    "create_endpoint_config": ("sagemaker", "CreateEndpointConfig"),
    "create_endpoint": ("sagemaker", "CreateEndpoint"),
    "create_model_import_job": ("bedrock", "CreateModelImportJob"),
}
"""The names of a run's requests, and of each the service as boto3 names it and the API operation."""


SERVICE_NAMES = {"sagemaker": "SageMaker", "bedrock": "Bedrock"}


def run_requests(spec: ModelSpec, plan: RunPlan, target: Target) -> dict[str, Request]:
    """The requests of a run on its preferred instance type, by their names in `OPERATIONS`.

    A run that does not deploy has only the first one; one that imports its model has that and the import. A run that
    promotes a model lacks the first one.
    """
    if plan.promotion:
        trained, name = {}, plan.promotion.training_job
    else:
        job = training_job(spec, plan, target)
        trained, name = {"create_training_job": job}, job["TrainingJobName"]
    if not plan.endpoint.deploy:
        return trained
    artifact = f"s3://{target.bucket}/{RunLayout(plan.run_id).model_artifact(name)}"
    if plan.endpoint.target == "bedrock":
        return {**trained, "create_model_import_job": import_job(plan, target, artifact)}
    live = hosting("live", plan, target)
    return {
        **trained,
        "create_model": tuned_model(spec, plan, target, artifact),
        "create_endpoint_config": requests.endpoint_config(spec, live, target),
        "create_endpoint": requests.endpoint(spec, live),
    }


def check_requests(built: Mapping[str, Request], service_model: Callable[[str], Any], checklist: Checklist) -> None:
    """Checks requests of `run_requests` against boto3's model of each service; adds a finding for each violation."""
    problems = []
    for name, request in built.items():
        service, operation = OPERATIONS[name]
        shape = service_model(service).operation_model(operation).input_shape
        problems += [(service, f"{operation}: {problem}") for problem in violations(shape, request)]
    for service, problem in problems:
        message = f"{SERVICE_NAMES[service]} would reject the request: {problem}."
        checklist.found("requests", Finding(Code.REQUEST_INVALID, "", message, "Change the value in run.json."))
    if not problems:
        checklist.passed("requests", f"{len(built)} request{'s' if len(built) > 1 else ''} valid")


def training_job(
    spec: ModelSpec, plan: RunPlan, target: Target, attempt: int = 0, pending_seconds: int = SHORTEST_PENDING
) -> Request:
    """CreateTrainingJob for an attempt: 0 has the preferred instance types, 1 the first fallbacks, and so on.

    `pending_seconds`: how long the job may wait for instances.
    """
    group, layout = plan.training.group(attempt), RunLayout(plan.run_id)
    option = group[0]
    held_out = plan.dataset is None or plan.dataset.validation_rows > 0
    job = TrainingJob(
        name=plan.names(target.prefix).training_job(attempt),
        instance_type=option.instance_type,
        hyperparameters=option.hyperparameters,
        accept_eula=plan.accept_eula,
        or_types=[other.instance_type for other in group[1:]],
        max_runtime_seconds=min(each.max_runtime_seconds for each in group),
        max_pending_seconds=pending_seconds,
        training_plan_arn=plan.training.training_plan_arn if option is plan.training.options[0] else None,
        train=f"s3://{target.bucket}/{layout.train}",
        validation=f"s3://{target.bucket}/{layout.validation}" if held_out and spec.validation_supported else None,
        output=f"s3://{target.bucket}/{layout.training_output}".removesuffix("/"),
        tags=run_tags(plan, target),
    )
    return requests.training_job(spec, job, target)


def import_job(plan: RunPlan, target: Target, artifact: str, attempt: int = 0) -> Request:
    """CreateModelImportJob for the output of the training job: an S3 URI that ends in `/`. `attempt`: how often the
    run's model was imported before.
    """
    names = plan.names(target.prefix)
    job = ImportJob(
        name=names.import_job(attempt),
        model=names.imported_model,
        artifact=artifact,
        tags=_served_tags(plan, target) | {ENDPOINT_TAG: names.endpoint},
    )
    return import_request(job, target)


def tuned_model(spec: ModelSpec, plan: RunPlan, target: Target, artifact: str) -> Request:
    """CreateModel for the output of the training job: an S3 URI that ends in `/`."""
    return requests.tuned_model(spec, hosting("live", plan, target), target, artifact)


def tuned_models(spec: ModelSpec, plan: RunPlan, target: Target, artifact: str) -> list[Request]:
    """The same, and one more for each type of the endpoint's pools that needs another container."""
    live = hosting("live", plan, target)
    others = {model: each for each, model in live.pools.items() if model != live.model}
    return [tuned_model(spec, plan, target, artifact)] + [
        requests.tuned_model(spec, replace(live, model=model, instance_type=each), target, artifact)
        for model, each in others.items()
    ]


def base_model(spec: ModelSpec, plan: RunPlan, target: Target) -> Request:
    """CreateModel for the base model, for the comparison."""
    return requests.base_model(spec, hosting("base", plan, target), target, accept_eula=plan.accept_eula)


def hosting(variant: Variant, plan: RunPlan, target: Target) -> Hosting:
    """Names, instances and tags of an endpoint. Temporary endpoints have the same instances as the live one."""
    names = plan.names(target.prefix)
    tags = run_tags(plan, target)
    pools = {
        each.instance_type: names.model
        if each.container_key == plan.endpoint.pools[0].container_key
        else names.model_on(each.instance_type)
        for each in plan.endpoint.pools
    }
    instance_type = plan.endpoint.instance_type
    if variant == "base":  # on the type of the tuned model's endpoint, with which it is compared
        pools, instance_type = {}, next(iter(plan.endpoint.serving_types), instance_type)
    if variant != "live":
        name = names.endpoint_of(variant)
        return Hosting(
            model=names.base if variant == "base" else names.model,
            config=name,
            endpoint=name,
            instance_type=instance_type,
            instance_count=plan.endpoint.instance_count,
            pools=pools,
            tags=tags | lifetime_tags(TEMPORARY_TTL_HOURS, TEMPORARY_TTL_HOURS * 60),
        )
    capture = f"s3://{target.bucket}/{RunLayout(plan.run_id).capture}".removesuffix("/")
    return Hosting(
        model=names.model,
        config=names.endpoint_config,
        endpoint=names.endpoint,
        instance_type=plan.endpoint.instance_type,
        instance_count=plan.endpoint.instance_count,
        pools=pools,
        tags=_served_tags(plan, target),
        capture=capture if plan.endpoint.data_capture_percentage else None,
        capture_percentage=plan.endpoint.data_capture_percentage,
    )


def _served_tags(plan: RunPlan, target: Target) -> dict[str, str]:
    """Of what serves the tuned model: whose it is, and when it expires."""
    lifetime = lifetime_tags(plan.endpoint.ttl_hours, plan.endpoint.idle_minutes)
    return run_tags(plan, target) | owners_tag(plan.owners) | lifetime


def run_tags(plan: RunPlan, target: Target) -> dict[str, str]:
    """The user's tags, and the project's: run, stage, owner, and who accepted which licence and when."""
    ours = {
        RUN_TAG: plan.run_id,
        STAGE_TAG: target.stage,
        OWNER_TAG: target.prefix,
    }
    if plan.accepted:
        ours |= {
            EULA_ACCEPTED_BY_TAG: tag_value(plan.accepted.in_words),
            EULA_ACCEPTED_AT_TAG: plan.accepted.at.isoformat(timespec="seconds"),
            EULA_TAG: plan.accepted.licence_key,
        }
    return plan.tags | ours


def tag_value(text: str) -> str:
    """The text with the characters and the length that a tag or a property of the registry may have."""
    return re.sub(r"[^\w .:/=+\-@]", "_", text)[:MAX_TAG_VALUE]
