"""Facts about the models: from the JumpStart documents in this project or another folder, or from AWS."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cli.errors import require_sign_in
from finetuning.aws.clients import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.family import ModelSupport
from finetuning.jumpstart.spec import MANIFEST_KEY, ModelSpec, newest, read_manifest, read_spec, spec_key
from finetuning.operations.preflight import price_list
from finetuning.planning.submission import LookUp

FACTS = Path(__file__).resolve().parents[2] / "facts" / "jumpstart"


class SpecFolder:
    """Reads specifications as `JumpStartBucket` does, from a folder. Raises `FineTuningError` naming the model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def spec(self, model_id: str, version: str | None = None) -> ModelSpec:
        """The model's specification: the pinned version, or the newest in the manifest."""
        if version is not None and (self._folder / spec_key(model_id, version)).is_file():
            key = spec_key(model_id, version)
        else:
            entry = newest(read_manifest(self._read(MANIFEST_KEY, model_id)), model_id)
            if version is not None:
                known = entry.version if entry else "none"
                raise FineTuningError(
                    Code.MODEL_SPEC_UNUSABLE,
                    f"No JumpStart document for {model_id} {version} in {self._folder}.",
                    f"Remove model_version (newest here: {known}), or plan with --live.",
                    field="model_version",
                )
            key = entry.spec_key if entry else spec_key(model_id, "*")
        return read_spec(self._read(key, model_id), model_id)

    def _read(self, key: str, model_id: str) -> bytes:
        path = self._folder / key
        try:
            return path.read_bytes()
        except OSError as error:
            raise FineTuningError(
                Code.MODEL_SPEC_UNUSABLE,
                f"No JumpStart document for {model_id}: cannot read {path}.",
                "Set --specs to a folder with models_manifest.json and community_models/, or choose another model.",
                field="model",
            ) from error


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
        "hyperparameters": {
            p.name: p.model_dump(mode="json", exclude={"name", "scope"}, exclude_defaults=True)
            for p in spec.hyperparameters
            if p.scope == "algorithm"
        },
        "regions": sorted(spec.training_instance_type_variants.regional_aliases),
    }
