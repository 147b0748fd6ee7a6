"""Entries in SageMaker that nobody can use any more, because the run they came from is gone."""

from finetuning.aws.run_store import RunStore
from finetuning.aws.sagemaker import SageMaker
from finetuning.runs.names import Names
from finetuning.settings import settings


def remove_unused_models(api: SageMaker, store: RunStore) -> list[str]:
    """Deletes the models and configurations named ours whose run has no files left; a line each. They cost nothing,
    but they count against quotas, and their weights are gone.

    What a live endpoint serves stays, whatever became of its run's files: its own limits end it.
    """
    prefix = settings().prefix + "-"
    runs = set(store.folders("runs/"))
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
