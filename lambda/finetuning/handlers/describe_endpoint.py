"""DescribeEndpoint: checks whether the endpoint serves the run's configuration yet."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, EndpointFailed, TransientAwsError
from finetuning.handlers.step import Payload, step
from finetuning.operations.endpoint_updates import restore_live_model
from finetuning.operations.run import Run, target
from finetuning.planning import orders
from finetuning.runs.outcomes import Outcome, endpoint_outcome, pooled_types, require_capture
from finetuning.runs.plan import RunPlan
from finetuning.runs.waiting import patient_pause, wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base", instance_type}` → `{outcome, wait_seconds}`.

    The outcome is `retry_elsewhere`, and the plan has the next instance type, if AWS has no capacity for the given one.
    The base model, whose type does not matter, follows the tuned one only if there is no capacity for it either.
    Raises `EndpointFailed`.
    """
    variant, plan, now = event["variant"], run.plan, datetime.now(UTC)
    hosting = orders.hosting(variant, plan, target())
    has_moved = event.get("instance_type", hosting.instance_type) != hosting.instance_type
    if has_moved and variant != "base":
        return _elsewhere(run, patient_pause(0))  # an earlier try of this step chose the next type
    endpoint = sagemaker().describe_endpoint(hosting.endpoint)
    if endpoint is None:
        raise TransientAwsError(
            Code.ENDPOINT_FAILED,
            f"The endpoint {hosting.endpoint} does not exist any more.",
            "It was deleted while the run waited. The tuned model is kept: deploy it with `finetune deploy RUN`.",
        )
    try:
        began = run.status.deployment_began if variant == "live" else None
        outcome = endpoint_outcome(endpoint, hosting.config, now, plan.endpoint.timeout_seconds, began)
    except EndpointFailed as failure:
        if endpoint["EndpointStatus"] == "InService":
            restore_live_model(sagemaker(), run.store, endpoint, settings().topic_arn)
        if failure.code != Code.ENDPOINT_NO_CAPACITY:
            raise
        waited = (now - endpoint["CreationTime"]).total_seconds()
        if variant == "base" and has_moved:
            return _elsewhere(run, patient_pause(0))
        if variant == "base" and _may_move(plan):
            return {"outcome": Outcome.IN_PROGRESS, "wait_seconds": patient_pause(waited), **run.status.shown}
        if variant == "base" or not plan.endpoint.fallbacks:
            raise
        following = plan.endpoint.on(plan.endpoint.fallbacks[0])
        run.record(f"{failure.message} Next instance type: {following.instance_type}")
        run.save_plan(plan.model_copy(update={"endpoint": following}))
        return _elsewhere(run, patient_pause(waited))
    if outcome == Outcome.IN_SERVICE:
        require_capture(endpoint, hosting.capture, hosting.capture_percentage)
        if variant != "base" and plan.endpoint.pools and (types := pooled_types(endpoint)):
            run.save_plan(plan.model_copy(update={"endpoint": plan.endpoint.serving(types)}))
    status = run.record(_seen(endpoint))
    elapsed = (now - endpoint["LastModifiedTime"]).total_seconds()
    pause = patient_pause if variant == "base" else wait_seconds
    return {"outcome": outcome, "wait_seconds": pause(elapsed), **status.shown}


def _may_move(plan: RunPlan) -> bool:
    """Whether the tuned model's endpoint may still come into service on another type."""
    if plan.endpoint.is_imported or not (plan.endpoint.fallbacks or plan.endpoint.pools):
        return False
    hosting = orders.hosting("candidate" if plan.evaluation.must_beat_base else "live", plan, target())
    endpoint = sagemaker().describe_endpoint(hosting.endpoint)
    return not (
        endpoint and endpoint["EndpointStatus"] == "InService" and endpoint["EndpointConfigName"] == hosting.config
    )


def _seen(endpoint: Mapping[str, Any]) -> str:
    types = " and ".join(pooled_types(endpoint))
    return f"{endpoint['EndpointName']}: {endpoint['EndpointStatus']}" + (f" on {types}" if types else "")


def _elsewhere(run: Run, pause: int) -> Payload:
    return {"outcome": Outcome.RETRY_ELSEWHERE, "wait_seconds": pause, **run.status.shown}
