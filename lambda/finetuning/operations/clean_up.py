"""Removes what runs leave behind: running jobs, temporary endpoints, endpoints that never served, unused models."""

from datetime import datetime

from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import SageMaker
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import RUNS
from finetuning.runs.names import Names
from finetuning.runs.tags import REPLACES_TAG, TTL_TAG
from finetuning.settings import NEVER, settings

FAILED_TTL_HOURS = 8
NEVER_SERVED = ("Creating", "Failed")
"""In every other status an endpoint serves, or will again: it is `Updating` whenever its number of instances changes,
and `SystemUpdating` during SageMaker's maintenance."""


def remove_unfinished(sagemaker: SageMaker, names: Names) -> list[str]:
    """Removes them and returns what was done, one line each. May be repeated. The tuned model is always kept."""
    done = [
        f"Stopped the training job {job}"
        for job in list(sagemaker.jobs_of(names, "InProgress"))
        if sagemaker.stop_training_job(job)
    ]
    done += [line for variant in ("candidate", "base") for line in remove_temporary_endpoint(sagemaker, names, variant)]
    live = sagemaker.describe_endpoint(names.endpoint)
    # Under a name that the user chose, the endpoint may be another run's.
    if live and live["EndpointStatus"] in NEVER_SERVED and live["EndpointConfigName"] == names.endpoint_config:
        done += remove_endpoint(sagemaker, names.endpoint)
    return done


def take_back_endpoint(sagemaker: SageMaker, names: Names, began: datetime) -> list[str]:
    """Removes the endpoint that an aborted execution created, whatever its status; returns a line about it, or none.

    `began`: the execution's start. An endpoint that was there before may serve people, and is kept: one that served
    this run's model already, and one that served an earlier model, which a rollback restores.
    """
    name, live = names.endpoint, sagemaker.describe_endpoint(names.endpoint)
    if not live or live["EndpointConfigName"] != names.endpoint_config or live["EndpointStatus"] == "Deleting":
        return []
    if live["CreationTime"] >= began:
        return remove_endpoint(sagemaker, name)
    configuration = sagemaker.configuration(names.endpoint_config)
    if live["LastModifiedTime"] < began or not configuration or REPLACES_TAG not in configuration[1]:
        return []
    rollback = f"`finetune rollback {name} --stage {settings().stage}` restores the earlier model"
    return [f"The endpoint {name} serves this run's model although the run has ended: {rollback}"]


def expire_failed(sagemaker: SageMaker, names: Names, began: datetime) -> list[str]:
    """Limits the lifetime of an endpoint that serves although its run failed after the deployment. Returns a line about
    it, or none. `began`: the begin of the run, or of the deployment of its model again.

    An endpoint that would never expire expires in `FAILED_TTL_HOURS`. One that served before is kept, because people
    may rely on it: an earlier model, or this one, which was to be deployed again.
    """
    name, live = names.endpoint, sagemaker.describe_endpoint(names.endpoint)
    if not live or live["EndpointStatus"] != "InService" or live["EndpointConfigName"] != names.endpoint_config:
        return []
    if live["LastModifiedTime"] < began:
        return []
    serving = f"The endpoint {name} serves this run's model although the run failed"
    configuration = sagemaker.configuration(names.endpoint_config)
    if configuration and REPLACES_TAG in configuration[1]:
        return [f"{serving}: `finetune rollback {name} --stage {settings().stage}` restores the earlier model"]
    if live["CreationTime"] < began:  # changed since, as by autoscaling, and not to another configuration
        return []
    if sagemaker.tags(live["EndpointArn"]).get(TTL_TAG) != NEVER:
        return [f"{serving}, until it expires"]
    sagemaker.tag_endpoint(name, {TTL_TAG: f"{FAILED_TTL_HOURS}"})
    return [f"{serving}; it expires {FAILED_TTL_HOURS} hours after its deployment"]


def remove_temporary_endpoint(sagemaker: SageMaker, names: Names, variant: str) -> list[str]:
    """Removes an endpoint that a run creates only for its evaluation, `candidate` or `base`; returns a line about it,
    or none. The tuned model is kept.
    """
    name = names.endpoint_of(variant)
    done = remove_endpoint(sagemaker, name)
    if sagemaker.describe_endpoint(name) is None:  # an endpoint that still exists needs its configuration
        sagemaker.delete_endpoint_config(name)
    if variant == "base":
        sagemaker.delete_model(name)
    return done


def remove_endpoint(sagemaker: SageMaker, name: str) -> list[str]:
    """Deletes the endpoint, or lets it expire at once if SageMaker refuses; returns a line about it, or none."""
    try:
        return [f"Deleted the endpoint {name}"] if sagemaker.delete_endpoint(name) else []
    except FineTuningError as error:
        if error.code != Code.REQUEST_INVALID:
            raise
    return let_expire(sagemaker, name)


def let_expire(sagemaker: SageMaker, name: str) -> list[str]:
    """For an endpoint that SageMaker does not delete yet, as while it is `Creating`: the sweeper deletes it later."""
    sagemaker.tag_endpoint(name, {TTL_TAG: "0"})
    return [f"The endpoint {name} cannot be deleted yet; the sweeper will delete it"]


def remove_unused_models(api: SageMaker, store: RunStore) -> list[str]:
    """Deletes this stage's models and configurations whose run has no files left; one line each. They cost nothing, but
    count against quotas, and their weights do not exist any more.

    What an endpoint serves is kept even without its run's files, until the endpoint expires.
    """
    prefix = settings().prefix + "-"
    live = (api.describe_endpoint(endpoint["EndpointName"]) for endpoint in list(api.endpoints(prefix)))
    # By their run: a configuration's models may have other names than itself.
    serving = {Names.run_id_in(endpoint["EndpointConfigName"], prefix) for endpoint in live if endpoint}
    needed = serving | set(store.folders(RUNS))
    done = []
    for kind, noun, found, delete in (
        ("configuration", "EndpointConfig", list(api.endpoint_configs(prefix)), api.delete_endpoint_config),
        ("model", "Model", list(api.models(prefix)), api.delete_model),
    ):
        for each in found:
            name = each[f"{noun}Name"]
            if Names.run_id_in(name, prefix) not in needed and api.is_owned(each[f"{noun}Arn"], settings().prefix):
                delete(name)
                done.append(f"Deleted the {kind} {name}")
    return done
