"""ScaleEndpoint: sets up autoscaling for the live endpoint."""

from finetuning.aws.autoscaling import scale
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. The endpoint must be in service; without autoscaling in the plan nothing is done."""
    policy = run.plan.endpoint.autoscaling
    if policy is not None:
        scale(run.names.endpoint, policy)
        limits = f"{policy.min_instances} to {policy.max_instances} instances"
        run.record(f"{limits}, target {policy.invocations_per_instance} invocations per minute and instance")
    return run.status.shown
