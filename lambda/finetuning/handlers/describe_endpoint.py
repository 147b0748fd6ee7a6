"""DescribeEndpoint: checks whether the endpoint serves the run's configuration yet."""

from datetime import UTC, datetime

from finetuning.aws.sagemaker import sagemaker
from finetuning.errors import Code, EndpointFailed
from finetuning.handlers.step import Payload, step
from finetuning.operations.endpoint_updates import restore_live_model
from finetuning.operations.run import Run, target
from finetuning.planning import orders
from finetuning.runs.outcomes import endpoint_outcome
from finetuning.runs.waiting import wait_seconds
from finetuning.settings import settings


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id, variant: "live"|"candidate"|"base"}` → `{outcome, wait_seconds}`. Raises `EndpointFailed`."""
    now, hosting = datetime.now(UTC), orders.hosting(event["variant"], run.plan, target())
    endpoint = sagemaker().describe_endpoint(hosting.endpoint)
    if endpoint is None:
        raise EndpointFailed(
            Code.ENDPOINT_FAILED,
            f"The endpoint {hosting.endpoint} does not exist any more.",
            "It was deleted while the run waited. The tuned model is kept: deploy it with `finetune deploy RUN`.",
        )
    try:
        outcome = endpoint_outcome(endpoint, hosting.config, now, run.plan.endpoint.timeout_seconds)
    except EndpointFailed as failure:
        if failure.code == Code.ENDPOINT_ROLLED_BACK:
            restore_live_model(sagemaker(), run.store, endpoint, settings().topic_arn)
        raise
    status = run.record(f"{hosting.endpoint}: {endpoint['EndpointStatus']}")
    elapsed = (now - endpoint["LastModifiedTime"]).total_seconds()
    return {"outcome": outcome, "wait_seconds": wait_seconds(elapsed), **status.shown}
