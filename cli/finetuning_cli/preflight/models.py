"""Facts about the models: from the JumpStart documents in this project or another folder, or from AWS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from finetuning.aws.clients import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.bedrock.facts import import_facts
from finetuning.bedrock.models import refusals
from finetuning.bedrock.prices import import_price
from finetuning.errors import FineTuningError
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.family import ModelSupport
from finetuning.operations.preflight import price_list
from finetuning.planning.submission import LookUp
from finetuning.settings import DEFAULT_MODEL
from finetuning_cli.errors import require_sign_in
from finetuning_cli.preflight.documents import FACTS, SpecFolder


@dataclass(frozen=True)
class ModelFacts:
    """The source of specifications and prices: a folder and the assumed prices, or AWS."""

    documents: SpecFolder | JumpStartBucket
    price: LookUp

    @classmethod
    def kept(cls, folder: Path = FACTS) -> Self:
        return cls(SpecFolder(folder), fallback_price)

    @classmethod
    def live(cls, region: str) -> Self:
        """Raises `FineTuningError` if the caller has no valid credentials."""
        require_sign_in(region)
        return cls(JumpStartBucket(advisory_client("s3", region), region), price_list(region).price)

    @classmethod
    def live_or_kept(cls, region: str) -> tuple[Self, str]:
        """AWS's facts or, where JumpStart's documents cannot be read, the kept ones; then why."""
        live = cls.live(region)
        try:
            live.documents.spec(DEFAULT_MODEL)
        except FineTuningError as error:
            return cls.kept(), f"Checked with the model facts of this project: {error.message}"
        return live, ""

    def models(self) -> list[dict[str, Any]]:
        """What `finetune models --json` prints."""
        return [_model(support, self) for support in CATALOGUE.values()]


def _model(support: ModelSupport, facts: ModelFacts) -> dict[str, Any]:
    """One entry of the list; an unknown price is None."""
    known = {
        "model": support.model_id,
        "family": support.family.name,
        "tasks": [*support.tasks],
        "planned_tasks": [*support.planned],
    }
    try:
        spec = facts.documents.spec(support.model_id)
    except FineTuningError as error:
        return known | {"error": error.message}

    def priced(
        use: Literal["training", "hosting"], default: str, supported: tuple[str, ...]
    ) -> dict[str, float | None]:
        prices = {
            instance_type: facts.price(instance_type, use) for instance_type in dict.fromkeys([default, *supported])
        }
        return {instance_type: price.usd_per_hour if price else None for instance_type, price in prices.items()}

    return known | {
        "method": support.method,
        "version": spec.version,
        "provenance": spec.provenance,
        "training_instance_types": priced(
            "training", spec.default_training_instance_type, spec.supported_training_instance_types
        ),
        "endpoint_instance_types": priced(
            "hosting", spec.default_inference_instance_type, spec.supported_inference_instance_types
        ),
        "bedrock": _imported(support),
        "hyperparameters": {
            p.name: p.model_dump(mode="json", exclude={"name", "scope"}, exclude_defaults=True)
            for p in spec.hyperparameters
            if p.scope == "algorithm"
        },
        "regions": sorted(spec.training_instance_type_variants.regional_aliases),
    }


def _imported(support: ModelSupport) -> dict[str, Any] | None:
    """Custom model units and USD of the tuned model in Bedrock; None if it cannot be imported."""
    region = import_facts().price_region
    price = import_price(support, region)
    if price is None or any(refusals(support, region)):
        return None
    names = {"units", "usd_per_window", "window_minutes", "usd_per_hour", "usd_per_month_stored"}
    return {name: round(value, 4) for name, value in price.model_dump(include=names).items()}
