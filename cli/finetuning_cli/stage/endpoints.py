"""The endpoints of a stage's runs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from finetuning.aws.autoscaling import scale
from finetuning.aws.cloudwatch import invocations
from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.sagemaker_runtime import openai_base_url
from finetuning.bedrock.prices import HOURS_A_MONTH
from finetuning.errors import Code, FineTuningError
from finetuning.operations.endpoint_life import EndpointState, endpoint_state
from finetuning.operations.endpoint_updates import Fleet, create_or_update, earlier_request
from finetuning.operations.import_life import ImportState
from finetuning.report.commands import speaks_openai
from finetuning.runs.aliases import ImportedModel
from finetuning.runs.expiry import Deadline, kept_until
from finetuning.runs.guardrails import LONGEST_UPDATE_SECONDS
from finetuning.runs.outcomes import Outcome, endpoint_outcome
from finetuning.runs.plan import RunPlan
from finetuning.runs.tags import IDLE_TAG, KEPT_TAG, OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning.settings import NEVER, Limit
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.imported import UNKNOWN, find_serving, list_imported
from finetuning_cli.stage.runs import find_run


class EndpointSummary(BaseModel):
    """An endpoint of this stage. A limit is None if its tag is missing or unreadable."""

    name: str
    status: str
    run_id: str
    created_at: datetime
    ttl_hours: Limit | None
    idle_minutes: Limit | None
    expires_at: datetime | None
    """None: it does not expire, or by the stage's limits."""
    expiry_reason: str
    unless_used: bool
    """A request before `expires_at` postpones it."""
    instance_type: str
    instances: int
    usd_per_hour: float | None
    """Of all its current instances; so is `usd_so_far`."""
    usd_so_far: float | None
    invocations_last_hour: int | None
    """None for an imported model, as is the next: they are not counted."""
    invocations_last_day: int | None
    openai_base_url: str
    """"" for a model that was not trained on chats."""
    target: Literal["sagemaker", "bedrock"] = "sagemaker"
    usd_by_use: str = ""
    """In words, what an imported model costs while it is used, and for its storage."""


def list_endpoints(deployment: Deployment) -> Iterator[EndpointSummary]:
    """The endpoints that runs of this stage created, found by name prefix and tag."""
    now = datetime.now(UTC)
    for each in list(sagemaker().endpoints(f"{deployment.prefix}-")):
        found = endpoint_state(sagemaker(), each["EndpointName"], UNKNOWN, now)
        if found and found.run_id:
            yield _summary(deployment, found, now)
    for model in list_imported(deployment):
        yield _imported_summary(deployment, model, now)


def _imported_summary(deployment: Deployment, found: ImportState, now: datetime) -> EndpointSummary:
    """An imported model costs nothing by the hour while nobody asks it; what it has cost so far is its storage."""
    plan, readable = deployment.run(found.run_id).find_plan(), found.tags.keys() - found.unreadable
    price = plan.endpoint.import_price if plan else None
    stored = price.usd_per_month_stored if price else None
    age = now - found.created_at
    return EndpointSummary(
        name=found.known_as,
        status="Imported" if found.serving else f"Kept for a rollback of {found.alias}" if found.alias else "Unused",
        run_id=found.run_id,
        created_at=found.created_at,
        ttl_hours=found.lifetime.ttl_hours if TTL_TAG in readable else None,
        idle_minutes=NEVER,
        expires_at=found.deadline.at if found.deadline else None,
        expiry_reason=found.deadline.reason if found.deadline else "",
        unless_used=False,
        instance_type="",
        instances=0,
        usd_per_hour=0,
        usd_so_far=None if stored is None else stored * age.total_seconds() / 3600 / HOURS_A_MONTH,
        invocations_last_hour=None,
        invocations_last_day=None,
        openai_base_url="",
        target="bedrock",
        usd_by_use=price.in_words if price else "price unknown",
    )


def _summary(deployment: Deployment, found: EndpointState, now: datetime) -> EndpointSummary:
    plan, readable = deployment.run(found.run_id).find_plan(), found.tags.keys() - found.unreadable
    instances = found.instances or (plan.endpoint.instance_count if plan else 0)
    hourly = plan.endpoint.usd_per_hour * instances if plan and plan.endpoint.usd_per_hour is not None else None
    calls = invocations(found.name, now - timedelta(days=1), now)
    return EndpointSummary(
        name=found.name,
        status=found.status,
        run_id=found.run_id,
        created_at=found.created_at,
        ttl_hours=found.lifetime.ttl_hours if TTL_TAG in readable else None,
        idle_minutes=found.lifetime.idle_minutes if IDLE_TAG in readable else None,
        expires_at=found.deadline.at if found.deadline else None,
        expiry_reason=found.deadline.reason if found.deadline else "",
        unless_used=bool(found.deadline and found.deadline.postponed_by_use),
        instance_type=plan.endpoint.in_words if plan else "",
        instances=instances,
        usd_per_hour=hourly,
        usd_so_far=None if hourly is None else hourly * (now - found.created_at).total_seconds() / 3600,
        invocations_last_hour=round(sum(count for at, count in calls if at > now - timedelta(hours=1))),
        invocations_last_day=round(sum(count for _, count in calls)),
        openai_base_url=openai_base_url(found.name) if plan and speaks_openai(plan) else "",
    )


def extend_endpoint(deployment: Deployment, endpoint: str, hours: float) -> Deadline | None:
    """Keeps the endpoint for at least `hours` more, even without requests; returns its new deadline.

    Never shortens a lifetime. None if the endpoint does not expire. Raises `FineTuningError` (ENDPOINT_NOT_FOUND),
    also for an endpoint of another owner.
    """
    control, now = sagemaker(), datetime.now(UTC)
    found = endpoint_state(control, endpoint, UNKNOWN, now)
    if found is None or found.tags.get(OWNER_TAG) != deployment.prefix:
        raise FineTuningError(
            Code.ENDPOINT_NOT_FOUND,
            f"This stage has no endpoint {endpoint}.",
            "List its endpoints with `finetune endpoints`.",
        )
    until = max(now + timedelta(hours=hours), kept_until(found.tags) or now)
    control.tag_endpoint(endpoint, {KEPT_TAG: until.isoformat(timespec="seconds")})
    extended = endpoint_state(control, endpoint, UNKNOWN, now)
    return extended.deadline if extended else None


def find_endpoint(deployment: Deployment, name: str) -> tuple[str, RunPlan | None]:
    """An endpoint's full name, and the plan of the run it serves. `name` may lack the stage's prefix, or be a run's.

    Raises `FineTuningError` (ENDPOINT_NOT_FOUND).
    """
    control = sagemaker()
    for candidate in _candidates(deployment, name):
        live = control.describe_endpoint(candidate)
        if live:
            run_id = control.tags(live["EndpointArn"]).get(RUN_TAG)
            return candidate, deployment.run(run_id).find_plan() if run_id else None
    raise _no_endpoint(name, deployment.prefix)


def find_served(deployment: Deployment, name: str) -> tuple[str, RunPlan | None, ImportedModel | None]:
    """The same, and the imported model if the name stands for one."""
    for candidate in _candidates(deployment, name):
        if model := find_serving(deployment, candidate):
            return candidate, deployment.run(model.run_id).find_plan(), model
    return *find_endpoint(deployment, name), None


def _candidates(deployment: Deployment, name: str) -> Iterator[str]:
    """The endpoints that a name may mean, in this order. All have the prefix: policies let no other be seen."""
    if name.startswith(f"{deployment.prefix}-"):
        yield name
    yield f"{deployment.prefix}-{name}"
    try:
        run = find_run(deployment, name)
    except FineTuningError as error:
        if error.code != Code.RUN_NOT_FOUND:
            raise
        return
    if endpoint := run.status.endpoint:
        yield endpoint


def roll_back(deployment: Deployment, endpoint: str) -> str:
    """Starts switching the endpoint back to its earlier configuration; returns that configuration's name.

    Raises `FineTuningError`: ENDPOINT_BUSY, NOTHING_TO_ROLL_BACK_TO.
    """
    control = sagemaker()
    request, instance_count = earlier_request(control, endpoint)
    run_id = next((tag["Value"] for tag in request["Tags"] if tag["Key"] == RUN_TAG), "")
    plan = deployment.run(run_id).find_plan()
    seconds = plan.endpoint.timeout_seconds if plan else LONGEST_UPDATE_SECONDS
    scaled = bool(plan and plan.endpoint.autoscaling)
    create_or_update(control, deployment.store, request, deployment.topic_arn, Fleet(instance_count, scaled, seconds))
    return str(request["EndpointConfigName"])


def is_rolled_back(deployment: Deployment, endpoint: str, config: str) -> bool:
    """True once the endpoint serves that configuration; its autoscaling is then set up again.

    Raises `EndpointFailed` if it cannot.
    """
    live = sagemaker().describe_endpoint(endpoint)
    if live is None:
        raise _no_endpoint(endpoint, deployment.prefix)
    tags = sagemaker().tags(live["EndpointArn"])
    plan = deployment.run(tags.get(RUN_TAG, "")).find_plan()
    seconds = plan.endpoint.timeout_seconds if plan else LONGEST_UPDATE_SECONDS
    if endpoint_outcome(live, config, datetime.now(UTC), seconds) is Outcome.IN_PROGRESS:
        return False
    if plan and plan.endpoint.autoscaling:
        scale(endpoint, plan.endpoint.autoscaling)
    return True


def _no_endpoint(name: str, prefix: str) -> FineTuningError:
    return FineTuningError(
        Code.ENDPOINT_NOT_FOUND,
        f"There is no endpoint {name} or {prefix}-{name}, and no run of that name has one.",
        "List the endpoints with `finetune endpoints`. Deploy an expired one again with `finetune deploy RUN`.",
    )
