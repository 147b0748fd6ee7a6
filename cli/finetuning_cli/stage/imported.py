"""The imported models of a stage's runs, and the names that stand for them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from finetuning.aws.bedrock import bedrock
from finetuning.operations.import_life import ImportState, import_states
from finetuning.operations.imports import find_alias
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.expiry import Deadline, Lifetime, kept_until
from finetuning.runs.layout import alias_key
from finetuning.runs.tags import KEPT_TAG
from finetuning.settings import NEVER
from finetuning_cli.stage.deployment import Deployment

UNKNOWN = Lifetime(NEVER, NEVER)
"""Assumed limits of a model or an endpoint without tags: only the sweeper knows the stage's."""


def imports_models(deployment: Deployment) -> bool:
    return bool(deployment.settings and deployment.settings.bedrock_import)


def find_serving(deployment: Deployment, name: str) -> ImportedModel | None:
    """The imported model that a name stands for; None if it stands for none."""
    alias = find_alias(deployment.store, name) if imports_models(deployment) else None
    return alias.serving if alias else None


def list_imported(deployment: Deployment) -> Iterator[ImportState]:
    """The imported models of this stage, found by name prefix and tag."""
    if imports_models(deployment):
        yield from import_states(bedrock(), deployment.store, deployment.prefix, UNKNOWN)


def extend_imported(deployment: Deployment, model: ImportedModel, hours: float) -> Deadline | None:
    """Keeps the model for at least `hours` more; returns its new deadline, None if it does not expire."""
    api, now = bedrock(), datetime.now(UTC)
    until = max(now + timedelta(hours=hours), kept_until(api.tags(model.arn)) or now)
    api.tag(model.arn, {KEPT_TAG: until.isoformat(timespec="seconds")})
    states = import_states(api, deployment.store, deployment.prefix, UNKNOWN)
    return next((state.deadline for state in states if state.arn == model.arn), None)


def roll_back_name(deployment: Deployment, name: str) -> Alias:
    """Makes the name stand for the model before, which is still there. Raises `FineTuningError`:
    NOTHING_TO_ROLL_BACK_TO.
    """
    present = {model["modelArn"] for model in bedrock().models(f"{deployment.prefix}-")}

    def back(alias: Alias | None) -> Alias:
        found = alias or Alias(name=name)
        gone = [model for model in found.earlier if model.arn not in present]
        for model in gone:
            found = found.without(model.arn)
        return found.rolled_back(datetime.now(UTC))

    return deployment.store.update(alias_key(name), Alias, back)
