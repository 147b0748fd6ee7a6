"""The endpoint of a run: instances, expiry, autoscaling, data capture, and the time allowed for its deployment."""

from collections.abc import Mapping
from itertools import takewhile

from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import Price, has_only_local_storage
from finetuning.jumpstart.requests import ENDPOINT_PROVISIONING_SECONDS, container_key
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.serving_target import settle_target
from finetuning.planning.submission import Submission, endpoint_type
from finetuning.runs.endpoint_plan import Autoscaling, EndpointPlan, HostingOption, dearest
from finetuning.runs.ownership import owner_name
from finetuning.runs.run_json import DataCaptureRequest, EndpointRequest
from finetuning.settings import DeployedStage

DEFAULT_ENDPOINT_TIMEOUT = 3600
"""Seconds for download and for start-up each if the specification has none: SageMaker's maximum."""


def endpoint_plan(
    submission: Submission, spec: ModelSpec, stage: DeployedStage, prices: Mapping[str, Price], checklist: Checklist
) -> EndpointPlan:
    request = submission.request
    asked = request.endpoint
    instance_type = endpoint_type(request, spec)
    image = None
    if asked.deploy:
        image = checklist.attempt("endpoint instance", lambda: spec.hosting_image(instance_type, stage.aws_region))
        if not image:
            instance_type = spec.default_inference_instance_type
    fallbacks = []
    for other in dict.fromkeys(asked.fallback_instance_types if asked.deploy else []):
        try:
            spec.hosting_image(other, stage.aws_region)
        except FineTuningError as error:
            field = "endpoint.fallback_instance_types"
            checklist.found("endpoint instance", Finding(error.code, field, error.message, error.fix))
        else:
            fallbacks.append(hosting_option(other, prices, container_key(spec, other, stage.aws_region)))
    key = container_key(spec, instance_type, stage.aws_region) if image else ""
    first = hosting_option(instance_type, prices, key)
    fallbacks = [option for option in fallbacks if option.instance_type != instance_type]
    may_choose = stage.endpoint_instance_pools and image and not asked.autoscaling
    pools = _pools([first, *fallbacks]) if may_choose else []
    timeouts = spec.deploy_kwargs
    capture = asked.data_capture
    plan = EndpointPlan(
        deploy=asked.deploy,
        name=asked.name,
        owners=list(dict.fromkeys([submission.upload.owner, *map(owner_name, asked.owners)])),
        instance_type=instance_type,
        instance_count=asked.instance_count,
        ttl_hours=asked.ttl_hours or stage.endpoint_ttl_hours,
        idle_minutes=asked.idle_minutes or stage.endpoint_idle_minutes,
        timeout_seconds=ENDPOINT_PROVISIONING_SECONDS
        + (timeouts.model_data_download_timeout or DEFAULT_ENDPOINT_TIMEOUT)
        + (timeouts.container_startup_health_check_timeout or DEFAULT_ENDPOINT_TIMEOUT),
        usd_per_hour=dearest(pools or [first]),
        pools=pools,
        autoscaling=_autoscaling(asked, checklist),
        fallbacks=[option for option in fallbacks if option not in pools],
        data_capture_percentage=capture.percentage if isinstance(capture, DataCaptureRequest) else 100 * capture,
    )
    if image and asked.target != "bedrock":
        checklist.passed("endpoint instance", f"{plan.instance_count} × {plan.in_words}, {_hourly(plan, prices)}")
    return settle_target(request, spec.model_id, stage, plan, checklist)


def hosting_option(instance_type: str, prices: Mapping[str, Price], container_key: str = "") -> HostingOption:
    price = prices.get(instance_type)
    return HostingOption(
        instance_type=instance_type,
        usd_per_hour=price.usd_per_hour if price else None,
        container_key=container_key,
    )


def _pools(options: list[HostingOption]) -> list[HostingOption]:
    """The first options that can be in one request, or none if that is one alone: all of its types have a volume that
    takes the stage's key, or none has. SageMaker allows five; run.json has no more than four.
    """
    local = has_only_local_storage(options[0].instance_type)
    pools = list(takewhile(lambda option: has_only_local_storage(option.instance_type) == local, options))
    return pools if len(pools) > 1 else []


def _hourly(plan: EndpointPlan, prices: Mapping[str, Price]) -> str:
    if plan.usd_per_hour is None:
        return "price unknown"
    source = prices[plan.instance_type].source
    most = "at most " if plan.pools else ""
    return f"{most}{plan.usd_per_hour * plan.instance_count:.2f} USD per hour ({source})"


def _autoscaling(asked: EndpointRequest, checklist: Checklist) -> Autoscaling | None:
    scaling = asked.autoscaling
    if scaling is None:
        return None
    if not scaling.min_instances <= asked.instance_count <= scaling.max_instances:
        checklist.found(
            "endpoint instance",
            Finding(
                Code.RUN_JSON_INVALID,
                "endpoint.autoscaling",
                f"instance_count ({asked.instance_count}) must be between min_instances ({scaling.min_instances}) and "
                f"max_instances ({scaling.max_instances}).",
                "Set values with min_instances <= instance_count <= max_instances.",
            ),
        )
    return Autoscaling(**scaling.model_dump())
