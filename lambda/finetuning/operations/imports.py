"""Imported models of a stage: whose they are, what is kept of them, and the names that stand for them."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from finetuning.aws.bedrock import Bedrock, bedrock
from finetuning.aws.run_store import RunStore
from finetuning.errors import Code, FineTuningError
from finetuning.operations.clean_up import FAILED_TTL_HOURS
from finetuning.operations.run import Run
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.layout import ALIASES, alias_key
from finetuning.runs.names import Names
from finetuning.runs.tags import OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning.settings import NEVER, settings


def find_alias(store: RunStore, name: str) -> Alias | None:
    return store.find(alias_key(name), Alias)


def all_aliases(store: RunStore) -> list[Alias]:
    found = (find_alias(store, name) for name in store.folders(ALIASES))
    return [alias for alias in found if alias]


def referenced(aliases: Iterable[Alias]) -> set[str]:
    """The ARNs of the models that serve, or are kept for a rollback."""
    return {model.arn for alias in aliases for model in alias.models}


def leave_to_endpoint(store: RunStore, name: str) -> list[str]:
    """Ends that the name stands for an imported model, because an endpoint of that name serves now; returns a line
    about it, or none. The sweep of runs deletes the models. May be repeated.
    """
    alias = find_alias(store, name)
    if alias is None or not alias.models:
        return []
    store.update(alias_key(name), Alias, lambda found: (found or alias).left_to_endpoint())
    models = " and ".join(model.name for model in alias.models)
    return [f"{name} no longer refers to an imported model; the next sweep deletes {models}"]


def latest_import(api: Bedrock, names: Names) -> dict[str, Any] | None:
    """The run's newest import job, as in ListModelImportJobs; None if there was none."""
    return next((job for job in api.import_jobs(names.imported_model) if names.is_job(job["jobName"])), None)


def next_attempt(names: Names, latest: dict[str, Any] | None) -> int:
    """The number of the import after that job: the name of one that ended stays taken."""
    if latest is None:
        return 0
    return int(latest["jobName"].removeprefix(names.imported_model).lstrip("-") or 0) + 1


class ImportUnderWay(Exception):
    """The account imports no second model at the same time: Bedrock's quota “Concurrent model import jobs”, which is 1
    and cannot be raised (by copies of AWS's table of quotas). `model`: the one that it imports.
    """

    def __init__(self, model: str) -> None:
        self.model = model


def start_import(api: Bedrock, store: RunStore, name: str, request: dict[str, Any]) -> list[str]:
    """Starts the import of a model that `name` will stand for. If the account has as many models as it may, those that
    are kept only for a rollback are deleted, one after the other: of this name first, the oldest first. Returns what
    was deleted, one line each.

    Raises `ImportUnderWay`, for which nothing is deleted although Bedrock's error is the same, and `FineTuningError`
    (QUOTA_EXCEEDED) if there is no model left to delete.
    """
    done: list[str] = []
    while True:
        try:
            api.start_import(request)
        except FineTuningError as error:
            if error.code != Code.QUOTA_EXCEEDED:
                raise
            if other := api.import_under_way():
                raise ImportUnderWay(other) from error
            kept = _kept_for_rollback(store, name)
            if not kept:
                raise
            done += delete_kept(api, store, *kept[0])
        else:
            return done


def _kept_for_rollback(store: RunStore, first: str) -> list[tuple[str, ImportedModel]]:
    aliases = sorted(all_aliases(store), key=lambda alias: alias.name != first)
    return [(alias.name, model) for alias in aliases for model in reversed(alias.earlier)]


def delete_kept(api: Bedrock, store: RunStore, alias: str, model: ImportedModel) -> list[str]:
    """Deletes a model that is kept for a rollback of `alias`; returns a line about it."""
    forget_model(api, store, alias, model.arn)
    return [f"Deleted the imported model {model.name}, which {alias} kept for a rollback"]


def runs_with_imports(store: RunStore, settled: datetime) -> Iterator[str]:
    """The runs of this stage that have an imported model for which no name stands, from before that time."""
    api, kept, prefix = bedrock(), referenced(all_aliases(store)), settings().prefix
    for model in list(api.models(f"{prefix}-")):
        if model["modelArn"] not in kept and model["creationTime"] <= settled:
            tags = api.tags(model["modelArn"])
            if tags.get(OWNER_TAG) == prefix and RUN_TAG in tags:
                yield tags[RUN_TAG]


def is_imported(run: Run) -> bool:
    plan = run.find_plan()
    return plan is not None and plan.endpoint.is_imported


def remove_unfinished_import(run: Run) -> list[str]:
    """The same as `remove_import` for a run of which it is not known whether it imports its model."""
    return remove_import(bedrock(), run) if is_imported(run) else []


def forget_model(api: Bedrock, store: RunStore, alias: str, arn: str) -> None:
    """Deletes a model that a name stands for, or keeps."""
    store.update(alias_key(alias), Alias, lambda found: (found or Alias(name=alias)).without(arn))
    api.delete_model(arn)


def remove_import(api: Bedrock, run: Run) -> list[str]:
    """Deletes the run's imported model unless a name stands for it, or keeps it for a rollback; returns what was done,
    one line each. May be repeated. The model's files are kept.
    """
    names = run.names
    model = api.find_model(names.imported_model)
    if model is None:
        job = latest_import(api, names)
        if job is None or job["status"] != "InProgress":
            return []
        return [f"The import {job['jobName']} cannot be stopped; the sweeper deletes its model once it is there"]
    if model["modelArn"] in referenced(all_aliases(run.store)) or not is_ours(api.tags(model["modelArn"]), names):
        return []
    api.delete_model(model["modelArn"])
    return [f"Deleted the imported model {names.imported_model}"]


def find_import(api: Bedrock, run: Run) -> dict[str, Any] | None:
    """The run's imported model, as in ListImportedModels; None for a run that imports none, or has none."""
    names = run.names
    model = api.find_model(names.imported_model) if is_imported(run) or run.status.imported_model else None
    return model if model and is_ours(api.tags(model["modelArn"]), names) else None


def delete_import(api: Bedrock, run: Run) -> list[str]:
    """Deletes the run's imported model, also if a name stands for it; returns a line about it, or none."""
    model = find_import(api, run)
    if model is None:
        return []
    for alias in all_aliases(run.store):
        if model["modelArn"] in referenced([alias]):
            forget_model(api, run.store, alias.name, model["modelArn"])
            return [f"Deleted the imported model {model['modelName']}, which {alias.name} used or kept for a rollback"]
    api.delete_model(model["modelArn"])
    return [f"Deleted the imported model {model['modelName']}"]


def is_ours(tags: dict[str, str], names: Names) -> bool:
    return (tags.get(OWNER_TAG), tags.get(RUN_TAG)) == (names.prefix, names.run_id)


def expire_failed_import(run: Run, began: datetime) -> list[str]:
    """Limits the lifetime of an imported model that serves although its run failed after the switch. Returns a line
    about it, or none. One that replaced an earlier model is kept, and one that served before `began`, when the run or
    the deployment of its model again began: people may rely on the name.
    """
    name, alias = run.names.endpoint, _switched_since(run, began)
    if alias is None or alias.serving is None:
        return []
    api = bedrock()
    serving = f"{name} answers with this run's model although the run failed"
    if alias.earlier:
        return [f"{serving}: `finetune rollback {name} --stage {settings().stage}` restores the earlier model"]
    if api.tags(alias.serving.arn).get(TTL_TAG) != NEVER:
        return [f"{serving}, until it expires"]
    api.tag(alias.serving.arn, {TTL_TAG: f"{FAILED_TTL_HOURS}"})
    return [f"{serving}; it expires {FAILED_TTL_HOURS} hours after its deployment"]


def _switched_since(run: Run, began: datetime) -> Alias | None:
    """The run's name if it has stood for the run's imported model since `began` or later."""
    alias = find_alias(run.store, run.names.endpoint) if is_imported(run) else None
    serving = alias.serving if alias else None
    return alias if serving and serving.run_id == run.run_id and serving.since >= began else None


def take_back_import(run: Run, began: datetime) -> list[str]:
    """Takes a name back from the model of an aborted execution; returns a line about it, or none. `began`: the
    execution's start. Without an earlier model the run's is deleted; a rollback to an earlier one is advised.
    """
    name, alias = run.names.endpoint, _switched_since(run, began)
    if alias is None or alias.serving is None:
        return []
    if alias.earlier:
        rollback = f"`finetune rollback {name} --stage {settings().stage}` restores the earlier model"
        return [f"{name} answers with this run's model although the run has ended: {rollback}"]
    arn = alias.serving.arn
    run.store.update(alias_key(name), Alias, lambda found: (found or alias).without(arn))
    return remove_import(bedrock(), run)
