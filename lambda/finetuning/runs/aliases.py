"""Which imported model an endpoint's name stands for: a small document, which a deployment or a rollback switches.

An imported model cannot be replaced: each run has one of its own, with an ARN that Bedrock chooses. Whoever asks by
the endpoint's name reads the document first.
"""

from datetime import datetime

from pydantic import Field

from finetuning.errors import Code, FineTuningError
from finetuning.lazy_model import LazyModel

KEPT_IMPORTS = 2
"""Of one name, the one that serves included. An account may have three imported models, and an update needs a third."""


class ImportedModel(LazyModel):
    """An imported model, and since when it serves or last served."""

    arn: str
    name: str
    run_id: str
    since: datetime


class Alias(LazyModel):
    """alias.json. `earlier`: the models that served before, the latest first, as far as they are kept for a rollback.
    `owners`: whose runs may replace the model, the owner first. `serving` is None once that model was deleted, or
    an endpoint of that name serves in its place.
    """

    name: str
    owners: list[str] = Field(default_factory=list)
    serving: ImportedModel | None = None
    earlier: list[ImportedModel] = Field(default_factory=list)

    @property
    def models(self) -> list[ImportedModel]:
        """All that are kept, the one that serves first."""
        return [*([self.serving] if self.serving else []), *self.earlier]

    def switched_to(self, model: ImportedModel, owners: list[str]) -> "Alias":
        """The same name for another model. One that serves already keeps its time: the step may be repeated."""
        if self.serving and self.serving.arn == model.arn:
            return self.model_copy(update={"owners": owners})
        earlier = [each for each in self.models if each.arn != model.arn]
        return self.model_copy(update={"serving": model, "earlier": earlier, "owners": owners})

    def rolled_back(self, now: datetime) -> "Alias":
        """The same name for the model before. Raises `FineTuningError` (NOTHING_TO_ROLL_BACK_TO)."""
        if not self.earlier:
            raise FineTuningError(
                Code.NOTHING_TO_ROLL_BACK_TO,
                f"No earlier model of {self.name} is kept.",
                "The model of every run is kept in S3: deploy one again with `finetune deploy RUN`.",
            )
        serving, *earlier = self.earlier
        return self.model_copy(update={"serving": serving.model_copy(update={"since": now}), "earlier": earlier})

    def without(self, arn: str) -> "Alias":
        """The same without a model that was deleted."""
        serving = self.serving if self.serving and self.serving.arn != arn else None
        return self.model_copy(
            update={"serving": serving, "earlier": [each for each in self.earlier if each.arn != arn]}
        )

    def left_to_endpoint(self) -> "Alias":
        """The same name without a model: an endpoint in SageMaker serves under it. Its owners stay."""
        return self.model_copy(update={"serving": None, "earlier": []})

    @property
    def surplus(self) -> list[ImportedModel]:
        """The earlier models that are kept no longer."""
        return self.models[KEPT_IMPORTS:]
