"""Takes back what a run made and nobody will use: running jobs, temporary endpoints, endpoints that never served."""

from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import SageMaker
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import RUNS
from finetuning.runs.names import Names
from finetuning.runs.tags import REPLACES_TAG, TTL_TAG
from finetuning.settings import NEVER, settings

FAILED_TTL_HOURS = 8
NEVER_SERVED = ("Creating", "Failed")
"""In every other state an endpoint serves, or will again: it is `Updating` whenever its fleet grows or shrinks, and
`SystemUpdating` while SageMaker looks after it."""


def remove_unfinished(sagemaker: SageMaker, names: Names) -> list[str]:
    """Returns what was done, a line each. May be repeated. The tuned model and its artefact always stay."""
    done = [
        f"Stopped the training job {job}"
        for job in list(sagemaker.training_jobs(names.training_job(0), "InProgress"))
        if sagemaker.stop_training_job(job)
    ]
    done += remove_temporary_endpoints(sagemaker, names)
    live = sagemaker.describe_endpoint(names.endpoint)
    # Under a name of the user's, an earlier run's model may be serving: that one is not ours to take.
    if live and live["EndpointStatus"] in NEVER_SERVED and live["EndpointConfigName"] == names.endpoint_config:
        done += _remove_endpoint(sagemaker, names.endpoint)
    return done


def expire_failed(sagemaker: SageMaker, names: Names) -> list[str]:
    """Says of an endpoint that it serves although its run failed: the evaluation came after it, or what followed broke.

    The first model of an endpoint goes in `FAILED_TTL_HOURS` where it would never go by itself. One that took an
    earlier model's place stays, for people may rely on the endpoint.
    """
    name, live = names.endpoint, sagemaker.describe_endpoint(names.endpoint)
    if not live or live["EndpointStatus"] != "InService" or live["EndpointConfigName"] != names.endpoint_config:
        return []
    serving = f"The endpoint {name} serves this run's model although the run failed"
    configuration = sagemaker.configuration(names.endpoint_config)
    if configuration and REPLACES_TAG in configuration[1]:
        return [f"{serving}: `finetune rollback {name} --stage {settings().stage}` brings the earlier one back"]
    if sagemaker.tags(live["EndpointArn"]).get(TTL_TAG) != NEVER:
        return [f"{serving}, until its time is over"]
    sagemaker.tag_endpoint(name, {TTL_TAG: f"{FAILED_TTL_HOURS}"})
    return [f"{serving}; it goes {FAILED_TTL_HOURS} hours after it came up"]


def remove_temporary_endpoints(sagemaker: SageMaker, names: Names) -> list[str]:
    """Those that a run puts up for its evaluation alone."""
    done = []
    for name in (names.candidate, names.base):
        done += _remove_endpoint(sagemaker, name)
        if sagemaker.describe_endpoint(name) is None:  # one that is still there needs its configuration
            sagemaker.delete_endpoint_config(name)
    sagemaker.delete_model(names.base)
    return done


def _remove_endpoint(sagemaker: SageMaker, name: str) -> list[str]:
    try:
        return [f"Deleted the endpoint {name}"] if sagemaker.delete_endpoint(name) else []
    except FineTuningError as error:
        if error.code != Code.REQUEST_INVALID:
            raise
    # SageMaker may refuse while the endpoint is still being made. With no time left to live, the sweeper takes it.
    sagemaker.tag_endpoint(name, {TTL_TAG: "0"})
    return [f"The endpoint {name} cannot be deleted yet; the sweeper will"]


def remove_unused_models(api: SageMaker, store: RunStore) -> list[str]:
    """Deletes the models and configurations named ours whose run has no files left; a line each. They cost nothing,
    but they count against quotas, and their weights are gone.

    What a live endpoint serves stays, whatever became of its run's files: its own limits end it.
    """
    prefix = settings().prefix + "-"
    runs = set(store.folders(RUNS))
    live = (api.describe_endpoint(endpoint["EndpointName"]) for endpoint in list(api.endpoints(prefix)))
    used = {endpoint["EndpointConfigName"] for endpoint in live if endpoint}
    done = []
    for words, noun, found, delete in (
        ("configuration", "EndpointConfig", list(api.endpoint_configs(prefix)), api.delete_endpoint_config),
        ("model", "Model", list(api.models(prefix)), api.delete_model),
    ):
        for each in found:
            name = each[f"{noun}Name"]
            is_left = Names.run_id_in(name, prefix) not in runs and name not in used
            if is_left and api.is_owned(each[f"{noun}Arn"], settings().prefix):
                delete(name)
                done.append(f"Deleted the {words} {name}")
    return done
