"""Updates of an endpoint, by a run or by a rollback: configuration, alarms, tags and autoscaling change together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from finetuning.aws.autoscaling import end_scaling, scale
from finetuning.aws.cloudwatch import forget_endpoint, watch_endpoint
from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import SageMaker, endpoint_busy
from finetuning.errors import Code, EndpointFailed, FineTuningError, TransientAwsError
from finetuning.runs.expiry import deployed_tag
from finetuning.runs.guardrails import ROLLBACK_SECONDS, Request, deployment_config
from finetuning.runs.layout import RunLayout
from finetuning.runs.outcomes import is_changing
from finetuning.runs.plan import RunPlan
from finetuning.runs.tags import REPLACES_TAG, RUN_TAG


@dataclass(frozen=True)
class Fleet:
    """The instances of an endpoint: the initial number, whether autoscaling changes it later, and the time in seconds
    until they must be in service.
    """

    instances: int
    scaled: bool
    timeout_seconds: int


def create_or_update(api: SageMaker, store: RunStore, request: Request, topic_arn: str, fleet: Fleet) -> None:
    """Creates the endpoint, or updates one of this project that serves an earlier model. `request` is CreateEndpoint's.

    With autoscaling, a fleet that has grown keeps its instances during the update. If SageMaker rejects the update, the
    endpoint stays as it was. May be repeated: an update to the same configuration that is in progress is not disturbed.
    Raises `FineTuningError`: ENDPOINT_BUSY, ENDPOINT_NAME_TAKEN, ENDPOINT_FAILED if the serving configuration is gone.
    """
    name, config = request["EndpointName"], request["EndpointConfigName"]
    live = api.describe_endpoint(name)
    if live is None:
        watch_endpoint(name, None, topic_arn)
        try:
            api.create_endpoint(request)
        except TransientAwsError:
            raise  # it may have been created
        except FineTuningError as error:
            # Another run may have created it just now.
            if live := api.describe_endpoint(name):
                api.require_ours(live)
                raise endpoint_busy(name) from error
            forget_endpoint(name)
            raise
        return
    api.require_ours(live)
    if config in (live["EndpointConfigName"], pending(live)):
        # A run that is deployed again while its endpoint serves: the lifetime begins again.
        serves = live["EndpointStatus"] == "InService" and config == live["EndpointConfigName"]
        begun = deployed_tag(config, datetime.now(UTC)) if serves else {}
        api.tag_endpoint(name, {tag["Key"]: tag["Value"] for tag in request["Tags"]} | begun)
        return
    if is_changing(live["EndpointStatus"]) or live["EndpointStatus"] == "Deleting":
        raise endpoint_busy(name)
    # SageMaker rejects another instance type while a variant is registered for scaling.
    end_scaling(name)
    watch_endpoint(name, config, topic_arn)
    grown = fleet.scaled and instances(live) > fleet.instances
    size = instances(live) if grown else fleet.instances
    guardrails = deployment_config(name, size, fleet.timeout_seconds + ROLLBACK_SECONDS)
    try:
        api.update_endpoint(request, guardrails, keep_instances=grown)
    except FineTuningError as error:
        restore_live_model(api, store, live, topic_arn)
        if api.configuration(live["EndpointConfigName"]) is None:
            raise _configuration_deleted(live) from error
        raise


def _configuration_deleted(endpoint: dict[str, Any]) -> EndpointFailed:
    """Why SageMaker, which needs the old configuration for an update, does not find one. A retry does not help."""
    name = endpoint["EndpointName"]
    return EndpointFailed(
        Code.ENDPOINT_FAILED,
        f"The endpoint {name} cannot be updated: its configuration {endpoint['EndpointConfigName']}, which still "
        "serves, was deleted.",
        f"Delete the endpoint (`aws sagemaker delete-endpoint --endpoint-name {name}`); it then stops serving. The "
        "tuned model is kept: deploy it with `finetune deploy RUN`.",
    )


def pending(endpoint: dict[str, Any]) -> str | None:
    """The configuration to which the endpoint, a DescribeEndpoint response, is being updated."""
    return endpoint.get("PendingDeploymentSummary", {}).get("EndpointConfigName")  # type: ignore[no-any-return]


def instances(endpoint: Mapping[str, Any]) -> int:
    """The number of instances of the endpoint, a DescribeEndpoint response; 0 before it is in service."""
    return sum(int(variant.get("CurrentInstanceCount", 0)) for variant in endpoint.get("ProductionVariants", []))


def restore_live_model(api: SageMaker, store: RunStore, endpoint: dict[str, Any], topic_arn: str) -> None:
    """Restores tags, alarms and autoscaling of the model that serves, after an update that failed or was rolled back.

    Tags and autoscaling are not known, and not changed, if its configuration was deleted.
    """
    name, config = endpoint["EndpointName"], endpoint["EndpointConfigName"]
    watch_endpoint(name, config, topic_arn)
    live = api.configuration(config)
    if live is None:
        return
    _, tags = live
    api.tag(endpoint["EndpointArn"], tags)
    plan = store.find(RunLayout(tags[RUN_TAG]).plan, RunPlan) if RUN_TAG in tags else None
    if plan and plan.endpoint.autoscaling:
        scale(name, plan.endpoint.autoscaling)


def earlier_request(api: SageMaker, endpoint: str) -> tuple[Request, int]:
    """The request that updates the endpoint to the configuration before the current one, and that configuration's
    number of instances.

    Raises `FineTuningError` (ENDPOINT_NOT_FOUND, NOTHING_TO_ROLL_BACK_TO).
    """
    live = api.describe_endpoint(endpoint)
    if live is None:
        raise FineTuningError(
            Code.ENDPOINT_NOT_FOUND, f"Endpoint {endpoint} not found.", "List the endpoints with `finetune endpoints`."
        )
    api.require_ours(live)
    serving = api.configuration(live["EndpointConfigName"])
    name = serving[1].get(REPLACES_TAG) if serving else None
    earlier = api.configuration(name) if name else None
    if earlier is None:
        raise FineTuningError(
            Code.NOTHING_TO_ROLL_BACK_TO,
            f"No earlier model of {endpoint} is kept.",
            "The model of every run is kept in S3: deploy one again with `finetune deploy RUN`.",
        )
    described, tags = earlier
    request = {
        "EndpointName": endpoint,
        "EndpointConfigName": described["EndpointConfigName"],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    return request, described["ProductionVariants"][0]["InitialInstanceCount"]
