"""DescribeEndpoint: whether the endpoint serves the run's own configuration yet."""

from datetime import UTC, datetime

from finetuning.aws.sagemaker import sagemaker
from finetuning.aws.status_board import record
from finetuning.aws.store import run_store
from finetuning.errors import Code, EndpointFailed
from finetuning.handlers.step import Payload, step
from finetuning.runs.layout import RunLayout
from finetuning.runs.outcomes import endpoint_outcome, wait_seconds
from finetuning.runs.plan import RunPlan
from finetuning.settings import settings

STATE = "DescribeEndpoint"


@step
def handler(event: Payload) -> Payload:
    """`{run_id, variant: "tuned"|"base"}` → `{outcome, wait_seconds}`. Raises `EndpointFailed`."""
    run_id, base = event["run_id"], event["variant"] == "base"
    store = run_store()
    names = store.load(RunLayout(run_id).plan, RunPlan).names(settings().prefix)
    name, config = (names.base, names.base) if base else (names.endpoint, names.endpoint_config)
    endpoint = sagemaker().describe_endpoint(name)
    if endpoint is None:
        raise EndpointFailed(
            Code.ENDPOINT_FAILED,
            f"The endpoint {name} is gone.",
            "Somebody deleted it while the run waited. The tuned model is kept: upload again, or deploy it by hand.",
        )
    outcome = endpoint_outcome(endpoint, config)
    status = record(store, run_id, STATE, f"{name}: {endpoint['EndpointStatus']}")
    elapsed = (datetime.now(UTC) - endpoint["LastModifiedTime"]).total_seconds()
    return {"outcome": outcome, "wait_seconds": wait_seconds(elapsed), **status.shown}
