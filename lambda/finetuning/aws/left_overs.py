"""Entries in SageMaker that nobody can use any more, because the run they came from is gone."""

from finetuning.aws.sagemaker import SageMaker
from finetuning.aws.store import RunStore
from finetuning.runs.names import Names
from finetuning.settings import settings


def remove_left_overs(api: SageMaker, store: RunStore) -> list[str]:
    """Deletes the models and configurations named ours whose run has no files left; a line each. They cost nothing,
    but they count against quotas, and their weights are gone.

    What a live endpoint serves stays, whatever became of its run's files: its own limits end it.
    """
    prefix = settings().prefix + "-"
    runs = set(store.folders("runs/"))
    live = (api.describe_endpoint(endpoint["EndpointName"]) for endpoint in list(api.endpoints(prefix)))
    used = {endpoint["EndpointConfigName"] for endpoint in live if endpoint}
    done = []
    for noun, found, delete in (
        ("configuration", list(api.endpoint_configs(prefix)), api.delete_endpoint_config),
        ("model", list(api.models(prefix)), api.delete_model),
    ):
        for name in found:
            if Names.run_id_in(name, prefix) not in runs and name not in used:
                delete(name)
                done.append(f"Deleted the {noun} {name}")
    return done
