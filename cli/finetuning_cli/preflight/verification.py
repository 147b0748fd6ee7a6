"""Compares the facts about models with a real account. Reads only; starts nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from finetuning.aws.clients import advisory_client
from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.aws.pricing import PriceList
from finetuning.aws.pricing import Use as PricedUse
from finetuning.aws.service_quotas import QUOTA_NAMES, Quotas, Use
from finetuning.errors import FineTuningError
from finetuning.jumpstart.assumptions import fallback_price
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.spec import ModelSpec
from finetuning.operations.preflight import account_quotas, price_list
from finetuning.runs.status import Check
from finetuning_cli.preflight.documents import FACTS, SpecFolder

PRICE_TOLERANCE = 0.02
"""Prices differ a little between regions and days; more is a fact to correct."""


@dataclass(frozen=True)
class ModelChecks:
    """The checks of the models in one region. `specs`: the live documents; `unusable`: why another was not read."""

    region: str
    jumpstart: JumpStartBucket
    specs: Mapping[str, ModelSpec]
    unusable: Mapping[str, FineTuningError]

    @classmethod
    def read(cls, region: str) -> Self:
        jumpstart = JumpStartBucket(advisory_client("s3", region), region)
        specs, unusable = {}, {}
        for model_id in CATALOGUE:
            try:
                specs[model_id] = jumpstart.spec(model_id, jumpstart.newest_version(model_id))
            except FineTuningError as error:
                unusable[model_id] = error
        return cls(region, jumpstart, specs, unusable)

    def documents(self) -> Iterator[Check]:
        """The kept facts of every model beside those of JumpStart."""
        for model_id in CATALOGUE:
            if error := self.unusable.get(model_id):
                yield Check(check=model_id, ok=False, message=error.message, code=error.code, fix=error.fix)
                continue
            kept, live = SpecFolder(FACTS).spec(model_id), self.specs[model_id]
            differences = "; ".join(_differences(kept, live))
            yield Check(
                check=model_id,
                ok=None if differences else True,
                message=f"version {live.version}, ours {kept.version} ({kept.provenance}): "
                + (differences or "no differences"),
            )

    def artefacts(self) -> Iterator[Check]:
        for spec in self.specs.values():
            yield from _artefacts(self.jumpstart, spec)

    def quotas(self) -> Iterator[Check]:
        quotas = account_quotas(self.region)
        for instance_type in self._instance_types("training"):
            yield _quota(quotas, instance_type, "training")
        for instance_type in self._instance_types("endpoint"):
            yield _quota(quotas, instance_type, "endpoint")

    def prices(self) -> Iterator[Check]:
        prices = price_list(self.region)
        for instance_type in self._instance_types("training"):
            yield _price(prices, instance_type, "training")
        for instance_type in self._instance_types("endpoint"):
            yield _price(prices, instance_type, "hosting")

    def instance_types(self) -> list[str]:
        """All that a model supports, for training or for an endpoint."""
        return sorted({*self._instance_types("training"), *self._instance_types("endpoint")})

    def _instance_types(self, use: Use) -> list[str]:
        return sorted(
            {
                instance_type
                for spec in self.specs.values()
                for instance_type in (
                    spec.supported_training_instance_types
                    if use == "training"
                    else spec.supported_inference_instance_types
                )
            }
        )


def _differences(kept: ModelSpec, live: ModelSpec) -> Iterator[str]:
    """Differences between the live and the kept specification that affect requests."""
    ours, theirs = _facts(kept), _facts(live)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name} is {theirs.get(name)}, not {ours.get(name)}"


def _facts(spec: ModelSpec) -> dict[str, object]:
    """What requests depend on, by a readable name."""
    return {
        "default training instance": spec.default_training_instance_type,
        "training instances": sorted(spec.supported_training_instance_types),
        "default endpoint instance": spec.default_inference_instance_type,
        "endpoint instances": sorted(spec.supported_inference_instance_types),
        "training script": spec.code_key,
        "base weights": spec.hosting_prepacked_artifact_key,
        "longest training": spec.estimator_kwargs.max_run,
        **{f"default of {p.name}": p.default_text for p in spec.hyperparameters},
        **{
            f"weights for training on {instance_type}": spec.training_instance_type_variants.gated_key(instance_type)
            for instance_type in spec.supported_training_instance_types
        },
    }


def _artefacts(jumpstart: JumpStartBucket, spec: ModelSpec) -> Iterator[Check]:
    trainable = [
        instance_type
        for instance_type in spec.supported_training_instance_types
        if spec.training_instance_type_variants.gated_key(instance_type)
    ]
    for (bucket, key), what in jumpstart.artefacts(spec, trainable).items():
        try:
            there = jumpstart.has(bucket, key)
        except FineTuningError as error:
            yield Check(check=what, ok=None, message=error.message)
            continue
        verdict = {True: "exists", False: "does not exist", None: "cannot be checked: access denied"}[there]
        yield Check(check=what, ok=there, message=f"s3://{bucket}/{key} {verdict}")


def _quota(quotas: Quotas, instance_type: str, use: Use) -> Check:
    verdict = quotas.check(instance_type, use, 1, "")
    name = QUOTA_NAMES[use].format(instance_type)
    if verdict is None:
        return Check(check="quota", ok=True, message=f"{name}: enough for one instance")
    if isinstance(verdict, str):
        return Check(check="quota", ok=None, message=f"{name}: {verdict}")
    return Check(check="quota", ok=None, message=verdict.message, fix=verdict.fix)


def _price(prices: PriceList, instance_type: str, use: PricedUse) -> Check:
    """Yellow where the table of assumed prices differs."""
    listed, assumed = prices.price(instance_type, use), fallback_price(instance_type, use)
    if listed is None or listed == assumed:
        return Check(check="price", ok=None, message=f"{instance_type} for {use}: no price in the Price List API")
    ours = f"{assumed.usd_per_hour:.2f} assumed" if assumed else "none assumed"
    far = assumed is not None and abs(listed.usd_per_hour / assumed.usd_per_hour - 1) > PRICE_TOLERANCE
    return Check(
        check="price",
        ok=None if far else True,
        message=f"{instance_type} for {use}: {listed.usd_per_hour:.2f} USD/h ({ours})",
    )
