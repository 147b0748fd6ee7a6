"""An imported model's state and expiry, for the sweeper and the command."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from finetuning.aws.bedrock import Bedrock
from finetuning.aws.run_store import RunStore
from finetuning.operations.imports import all_aliases
from finetuning.runs.expiry import Deadline, Lifetime, deadline, deployed_at, kept_until, lifetime_of
from finetuning.runs.tags import OWNER_TAG, RUN_TAG
from finetuning.settings import NEVER


@dataclass(frozen=True)
class ImportState:
    """One imported model. `alias`: the name that stands for it (`serving`) or keeps it for a rollback; "" if none does.

    `unreadable`: tags with a malformed limit, for which the stage's limit holds. `deadline` is None if it does not
    expire. Requests do not postpone that: a model that is not used costs its storage alone.
    """

    name: str
    arn: str
    run_id: str
    alias: str
    serving: bool
    tags: Mapping[str, str]
    created_at: datetime
    lifetime: Lifetime
    unreadable: list[str]
    deadline: Deadline | None

    @property
    def known_as(self) -> str:
        """What a user knows it by."""
        return self.alias if self.serving else self.name


def import_states(api: Bedrock, store: RunStore, prefix: str, default: Lifetime) -> Iterator[ImportState]:
    """The imported models of the stage. One that serves lives from when it began to, or was deployed again."""
    kept = {model.arn: (alias, model) for alias in all_aliases(store) for model in alias.models}
    for model in list(api.models(f"{prefix}-")):
        arn = str(model["modelArn"])
        tags = api.tags(arn)
        if tags.get(OWNER_TAG) != prefix:
            continue
        limits, unreadable = lifetime_of(tags, default)
        lifetime = Lifetime(limits.ttl_hours, NEVER)
        alias, since = kept[arn][0] if arn in kept else None, model["creationTime"]
        if arn in kept:
            since = max(since, kept[arn][1].since)
        since = max(since, deployed_at(tags, model["modelName"], since))
        yield ImportState(
            name=model["modelName"],
            arn=arn,
            run_id=tags.get(RUN_TAG, ""),
            alias=alias.name if alias else "",
            serving=bool(alias and alias.serving and alias.serving.arn == arn),
            tags=tags,
            created_at=model["creationTime"],
            lifetime=lifetime,
            unreadable=unreadable,
            deadline=deadline(lifetime, since, since, kept_until(tags)),
        )
