"""ScaleEndpoint: lets the live endpoint's number of instances follow its traffic."""

from finetuning.aws.autoscaling import scale
from finetuning.handlers.step import Payload, step
from finetuning.operations.run import Run


@step
def handler(run: Run, event: Payload) -> Payload:
    """`{run_id}` → what it shows. Of a run whose plan asks for autoscaling; its endpoint is in service."""
    policy = run.plan.endpoint.autoscaling
    if policy is not None:
        scale(run.names.endpoint, policy)
        limits = f"{policy.min_instances} to {policy.max_instances} instances"
        run.record(f"{limits}, aiming at {policy.invocations_per_instance} invocations a minute each")
    return run.status.shown
