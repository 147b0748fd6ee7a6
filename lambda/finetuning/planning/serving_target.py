"""Where a run's model is served: on a SageMaker endpoint, paid by the hour, or imported into Bedrock, paid by use."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from finetuning.bedrock.models import FIELD, ON_SAGEMAKER, refusals
from finetuning.bedrock.prices import ImportPrice, import_price
from finetuning.bedrock.requests import NOT_IN_TAGS
from finetuning.errors import Code, Finding
from finetuning.jumpstart.catalogue import support
from finetuning.planning.checklist import Checklist
from finetuning.runs.endpoint_plan import EndpointPlan
from finetuning.runs.plan import RunPlan
from finetuning.runs.run_json import EndpointRequest, RunRequest
from finetuning.settings import NEVER, DeployedStage

CHECK = "target"
"""The line of the preflight's table."""

ENDPOINT_ONLY = ("autoscaling", "data_capture")
"""Options that Bedrock has nothing like."""
INSTANCES = ("instance_type", "fallback_instance_types", "instance_count")
"""Options that a run with an imported model uses for the temporary endpoints of a comparison with the base model only.
"""


def settle_target(
    request: RunRequest, model_id: str, stage: DeployedStage, endpoint: EndpointPlan, checklist: Checklist
) -> EndpointPlan:
    """The plan of the endpoint, or of the imported model in its place. `endpoint`: as planned for SageMaker."""
    asked, model = request.endpoint, support(model_id)
    needs = [f"Only an endpoint has endpoint.{name}." for name in ENDPOINT_ONLY if _is_set(asked, name)]
    unsuitable = list(refusals(model, stage.aws_region))
    price = import_price(model, stage.aws_region)
    if asked.target == "sagemaker":
        return endpoint if needs or unsuitable else endpoint.model_copy(update={"import_price": price})
    endpoint = endpoint.model_copy(
        update={"import_price": price, "expected_hours_per_day": asked.expected_hours_per_day}
    )
    imported = endpoint.model_copy(update={"target": "bedrock", "idle_minutes": NEVER})
    obstacles = [*_without_access(stage), *unsuitable, *_refused_tags(request.tags)]
    if asked.target == "bedrock":
        findings = [*_contradictions(request), *obstacles]
        checklist.found(CHECK, *findings)
        if not findings:
            checklist.passed(CHECK, _bedrock(price))
        return imported
    choice = _choice(endpoint, [*needs, *(obstacle.message for obstacle in obstacles)])
    if isinstance(choice, Finding):
        checklist.found(CHECK, choice)
        return endpoint
    target, reason = choice
    if target == "bedrock" and (unused := _unused(request)):
        reason += f". Not used: {', '.join(f'endpoint.{name}' for name in unused)}"
    checklist.passed(CHECK, f"{target}: {reason}")
    return (imported if target == "bedrock" else endpoint).model_copy(update={"target_reason": reason})


def retarget(plan: RunPlan, target: Literal["sagemaker", "bedrock"], stage: DeployedStage) -> EndpointPlan:
    """The plan of a trained run's endpoint for another target, unchecked. An imported model has neither autoscaling nor
    data capture, and does not expire when it is idle; an endpoint that follows it gets the stage's limit for that.
    """
    endpoint = plan.endpoint
    if target == endpoint.target:
        return endpoint
    changes: dict[str, Any] = {"target": target, "target_reason": ""}
    if target == "sagemaker":
        return endpoint.model_copy(update={**changes, "idle_minutes": stage.endpoint_idle_minutes})
    price = import_price(support(plan.model_id), stage.aws_region)
    without = {"autoscaling": None, "data_capture_percentage": 0, "idle_minutes": NEVER}
    return endpoint.model_copy(update={**changes, "import_price": price, **without})


def check_import(plan: RunPlan, stage: DeployedStage, checklist: Checklist) -> None:
    """Whether Bedrock can import the plan's model, if it is imported, and the stage may: a finding for each reason
    against it.
    """
    if not plan.endpoint.is_imported:
        return
    findings = [
        *_without_access(stage),
        *refusals(support(plan.model_id), stage.aws_region),
        *_refused_tags(plan.tags),
    ]
    checklist.found(CHECK, *findings)
    if not findings:
        checklist.passed(CHECK, _bedrock(plan.endpoint.import_price))


def _bedrock(price: ImportPrice | None) -> str:
    return f"bedrock: {price.in_words if price else 'price unknown'}"


def _choice(endpoint: EndpointPlan, obstacles: list[str]) -> tuple[str, str] | Finding:
    """What `auto` chooses and why: the endpoint if no import is possible, else what a month costs less of. A finding if
    a figure is missing.
    """
    if obstacles:
        return "sagemaker", " ".join(obstacles)
    hours, price, limit = endpoint.expected_hours_per_day, endpoint.import_price, endpoint.break_even_hours_per_day
    if hours is None:
        return Finding(
            Code.RUN_JSON_INVALID,
            "endpoint.expected_hours_per_day",
            "endpoint.target auto compares prices at endpoint.expected_hours_per_day, which is not set.",
            "Set the hours a day in which the model is expected to be asked, or set endpoint.target to sagemaker or "
            "bedrock.",
        )
    if endpoint.usd_per_month is None or price is None or limit is None:
        unknown = endpoint.instance_type if price else "imported models of this size"
        return Finding(
            Code.PRICE_UNKNOWN,
            FIELD,
            f"endpoint.target auto cannot compare prices: that of {unknown} is unknown.",
            "Set endpoint.target to sagemaker or bedrock.",
        )
    return (
        "bedrock" if price.usd_per_month(hours) < endpoint.usd_per_month else "sagemaker",
        f"with {hours:g} hour{'' if hours == 1 else 's'} of use a day {price.usd_per_month(hours):,.2f} USD a month "
        f"imported into Bedrock, {endpoint.usd_per_month:,.2f} USD on an endpoint that always serves; "
        f"{break_even_in_words(limit)}",
    )


def break_even_in_words(hours: float) -> str:
    if not 0 < hours < 24:
        return f"{'the imported model' if hours else 'the endpoint'} costs less at any use"
    return f"below {hours:.1f} hours of use a day the imported model costs less"


def _without_access(stage: DeployedStage) -> Iterator[Finding]:
    if not stage.bedrock_import:
        yield Finding(
            Code.BEDROCK_NOT_ENABLED,
            FIELD,
            f"The stage {stage.stage} may not import models into Bedrock.",
            f'Deploy it with `-c bedrock_import=true`, or `"bedrock_import": true` in the context of cdk.json, or '
            f"{ON_SAGEMAKER}.",
        )


def _contradictions(request: RunRequest) -> Iterator[Finding]:
    """Options of an endpoint that an imported model cannot have."""
    set_for_endpoints = [name for name in ENDPOINT_ONLY if _is_set(request.endpoint, name)]
    for name in (*set_for_endpoints, *_unused(request)):
        if name == "idle_minutes":
            why, fix = (
                "Bedrock stops an imported model that is not used",
                "; endpoint.ttl_hours deletes an imported model",
            )
        else:
            why, fix = "endpoint.target is bedrock", ""
        yield Finding(
            Code.RUN_JSON_INVALID,
            f"endpoint.{name}",
            f"endpoint.{name} is for SageMaker endpoints, and {why}.",
            f"Remove it{fix}, or {ON_SAGEMAKER}.",
        )


def _unused(request: RunRequest) -> list[str]:
    """Options without a meaning for a model that is imported: of instances, unless a comparison uses them."""
    asked, evaluation = request.endpoint, request.evaluation
    compared = evaluation.compare_with_base or evaluation.must_beat_base
    idle = ["idle_minutes"] if asked.idle_minutes not in (None, NEVER) else []
    return [*(name for name in INSTANCES if not compared and _is_set(asked, name)), *idle]


def _is_set(asked: EndpointRequest, name: str) -> bool:
    return bool(getattr(asked, name) != EndpointRequest.model_fields[name].get_default(call_default_factory=True))


def _refused_tags(tags: Mapping[str, str]) -> Iterator[Finding]:
    for key, value in tags.items():
        if refused := sorted({*NOT_IN_TAGS.findall(key + value)}):
            yield Finding(
                Code.RUN_JSON_INVALID,
                f"tags.{key}",
                f"The tag {key!r} has characters that Bedrock's tags cannot have: {', '.join(refused)}.",
                f"Change the tag, or {ON_SAGEMAKER}.",
            )
