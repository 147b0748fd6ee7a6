"""Find and delete what a run created in SageMaker and still costs money."""

from finetuning.aws.bedrock import bedrock
from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.operations.clean_up import remove_endpoint, remove_unfinished
from finetuning.operations.endpoint_updates import pending
from finetuning.operations.imports import delete_import, find_import
from finetuning.operations.run import Run
from finetuning.runs.names import Names
from finetuning_cli.stage.runs import is_running, stop_execution


def remaining_resources(run: Run) -> list[str]:
    """What of a run still costs money, one line each."""
    control, names, status = sagemaker(), run.names, run.find_status()
    lines = [f"execution of {run.run_id}"] if status and is_running(status) else []
    lines += [f"training job {job}" for job in control.jobs_of(names, "InProgress")]
    model = find_import(bedrock(), run)
    lines += [f"imported model {model['modelName']}"] if model else []
    return lines + [f"endpoint {name}" for name in _endpoints_of(control, names)]


def remove_resources(run: Run) -> list[str]:
    """Stops and deletes what a run created in SageMaker; returns what was done, one line each. Idempotent.

    The run's files, including the tuned weights, stay in the artifacts bucket.
    """
    control, names, status = sagemaker(), run.names, run.find_status()
    done = []
    if status and is_running(status):
        stop_execution(status, "finetune clean-up")
        done.append(f"Stopped the execution of {run.run_id}")
    for name in _endpoints_of(control, names):
        done += remove_endpoint(control, name)
    done += delete_import(bedrock(), run)
    done += remove_unfinished(control, names)
    if _is_updated_to(control, names):
        rollback = f"`finetune rollback {names.endpoint}` restores the earlier model"
        done.append(f"The endpoint {names.endpoint} is being updated to this run's model: once it serves, {rollback}")
    elif not _endpoints_of(control, names):  # one that SageMaker does not delete yet needs its configuration
        control.delete_endpoint_config(names.endpoint_config)
        control.delete_model(names.model)
    return done


def _is_updated_to(control: SageMaker, names: Names) -> bool:
    """True while an endpoint of an earlier run is being updated to this run's configuration."""
    live = control.describe_endpoint(names.endpoint)
    return live is not None and pending(live) == names.endpoint_config


def _endpoints_of(control: SageMaker, names: Names) -> list[str]:
    """The run's endpoints that serve its own configuration: a named endpoint may already serve a later run."""
    owned = {
        names.endpoint: names.endpoint_config,
        names.candidate: names.candidate,
        names.base: names.base,
    }
    live = {name: control.describe_endpoint(name) for name in owned}
    return [
        name
        for name, found in live.items()
        if found and found["EndpointConfigName"] == owned[name] and found["EndpointStatus"] != "Deleting"
    ]
