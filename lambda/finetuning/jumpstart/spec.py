"""A model's facts as JumpStart publishes them: the manifest and the versioned specification.

Both are in the public bucket `jumpstart-cache-prod-<region>`: `models_manifest.json` lists all models and versions, and
`community_models/<model>/specs_v<version>.json` is the specification of a version. A specification does not depend on
the region: it has S3 keys, and aliases of container images that are looked up per region. The fields read here are
those that the SageMaker SDK reads. Unknown keys are ignored, so that a new key in a new version breaks nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import orjson
from pydantic import ConfigDict, Field, ValidationError

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.registries import is_from_aws
from finetuning.lazy_model import LazyModel

MANIFEST_KEY = "models_manifest.json"

LMI = "djl-inference"
"""Repository of the endpoint images that read and answer requests in the form this project writes."""


def cache_bucket(region: str) -> str:
    """Public: manifest, specifications, training scripts."""
    return f"jumpstart-cache-prod-{region}"


def public_address(region: str, key: str) -> str:
    """Where anyone can read an object of the public bucket with a browser."""
    return f"https://{cache_bucket(region)}.s3.{region}.amazonaws.com/{key}"


def private_bucket(region: str) -> str:
    """Gated weights: access needs the accepted licence, not an IAM permission."""
    return f"jumpstart-private-cache-prod-{region}"


class _Fact(LazyModel):
    """A part of a document; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ManifestEntry(_Fact):
    """A version of a model. `min_version` of the document is that of the SDK, and not needed here."""

    model_id: str
    version: str
    spec_key: str


class Hyperparameter(_Fact):
    """Type, default and range of a hyperparameter. For text, `min` and `max` are lengths.

    Those of scope `container` are for SageMaker's training toolkit; users do not set them.
    """

    name: str
    type: Literal["int", "float", "text", "bool"]
    default: str | int | float | bool
    options: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    exclusive_min: float | None = None
    exclusive_max: float | None = None
    scope: Literal["algorithm", "container"] = "algorithm"

    @property
    def default_text(self) -> str:
        return str(self.default)


class EnvironmentVariable(_Fact):
    """An environment variable of the container. Only those that the model needs are sent; the SDK uses the others."""

    name: str
    default: str | int | float | bool
    required_for_model_class: bool = False


class Metric(_Fact):
    """A pattern of the training log that SageMaker turns into a metric."""

    name: str = Field(alias="Name")
    regex: str = Field(alias="Regex")


class _Properties(_Fact):
    environment_variables: dict[str, str] = Field(default_factory=dict)
    gated_model_key_env_var_value: str | None = None
    hyperparameters: tuple[Hyperparameter, ...] = ()
    metrics: tuple[Metric, ...] = ()


class _Variant(_Fact):
    regional_properties: dict[str, str] = Field(default_factory=dict)
    properties: _Properties = Field(default_factory=_Properties)


def instance_family(instance_type: str) -> str:
    """`ml.g5.12xlarge` → `g5`; "" for anything that is not an instance type."""
    match = re.fullmatch(r"ml\.([a-z0-9-]+)\.\d*[a-z]+(?:-\d+)?", instance_type)
    return match.group(1) if match else ""


class InstanceVariants(_Fact):
    """What differs by instance family or exact type; the exact type has priority."""

    regional_aliases: dict[str, dict[str, str]] = Field(default_factory=dict)
    variants: dict[str, _Variant] = Field(default_factory=dict)

    def of(self, instance_type: str) -> tuple[_Variant, ...]:
        """The variants that apply, in order of increasing priority: family, then exact type."""
        names = (instance_family(instance_type), instance_type)
        return tuple(self.variants[name] for name in names if name in self.variants)

    def image_alias(self, instance_type: str) -> str | None:
        """The container image, as `$alias` where it differs by region; None if the model has none for the type."""
        uri = None
        for variant in self.of(instance_type):
            uri = variant.regional_properties.get("image_uri", uri)
        return uri

    def image(self, instance_type: str, region: str) -> str | None:
        """The container image, or None if the model has none for the type in the region."""
        uri = self.image_alias(instance_type)
        if uri is None or not uri.startswith("$"):
            return uri
        return self.regional_aliases.get(region, {}).get(uri.removeprefix("$"))

    def environment(self, instance_type: str) -> dict[str, str]:
        merged: dict[str, str] = {}
        for variant in self.of(instance_type):
            merged |= variant.properties.environment_variables
        return merged

    def gated_key(self, instance_type: str) -> str | None:
        """Key in the private bucket of the weights for training on this type."""
        keys = [variant.properties.gated_model_key_env_var_value for variant in self.of(instance_type)]
        return next((key for key in reversed(keys) if key), None)


class _EstimatorKwargs(_Fact):
    max_run: int = 360_000
    """Seconds. The default is the SDK's for the Llama models."""
    encrypt_inter_container_traffic: bool = True


class _DeployKwargs(_Fact):
    model_data_download_timeout: int | None = None
    container_startup_health_check_timeout: int | None = None


class ModelSpec(_Fact):
    """The specification of a model version. Sizes in GB, times in seconds, keys relative to a bucket of the region.

    `provenance` is not JumpStart's: in the documents that the command brings it states the source of the facts.
    """

    model_id: str
    version: str
    provenance: str = "published"
    fine_tuning_supported: bool = Field(default=True, alias="training_supported")
    hosting_eula_key: str | None = None

    default_training_instance_type: str
    supported_training_instance_types: tuple[str, ...]
    training_instance_type_variants: InstanceVariants
    training_script_key: str
    training_prepacked_script_key: str | None = None
    training_enable_network_isolation: bool = True
    training_volume_size: int | None = None
    hyperparameters: tuple[Hyperparameter, ...]
    metrics: tuple[Metric, ...] = ()
    estimator_kwargs: _EstimatorKwargs = Field(default_factory=_EstimatorKwargs)
    validation_supported: bool = False

    inference_config_name: str | None = None
    default_inference_instance_type: str
    supported_inference_instance_types: tuple[str, ...]
    hosting_instance_type_variants: InstanceVariants
    hosting_prepacked_artifact_key: str
    inference_environment_variables: tuple[EnvironmentVariable, ...] = ()
    inference_enable_network_isolation: bool = True
    inference_volume_size: int | None = None
    deploy_kwargs: _DeployKwargs = Field(default_factory=_DeployKwargs)

    @property
    def code_key(self) -> str:
        """The training script's archive in the public bucket."""
        return self.training_prepacked_script_key or self.training_script_key

    def training_image(self, instance_type: str, region: str) -> str:
        """Raises `FineTuningError` if the model cannot be trained on this type or in this region."""
        self._require_supported(instance_type, self.supported_training_instance_types, "training")
        image = self.training_instance_type_variants.image(instance_type, region)
        if image is None:
            self._no_image(instance_type, region, "training")
        return self._from_aws(image, region)

    def hosting_image(self, instance_type: str, region: str) -> str:
        """Raises `FineTuningError` if the model cannot be hosted on this type or in this region."""
        self._require_supported(instance_type, self.supported_inference_instance_types, "endpoint")
        image = self.hosting_instance_type_variants.image(instance_type, region)
        if image is None:
            self._no_image(instance_type, region, "endpoint")
        if not _is_lmi(image):
            raise _unusable(self.model_id, f"its endpoint image {image} is not DJL LMI's ({LMI})")
        return self._from_aws(image, region)

    def _from_aws(self, image: str, region: str) -> str:
        if not is_from_aws(image, region):
            raise _unusable(self.model_id, f"its image {image} is not in AWS's registry in {region}")
        return image

    def gated_key(self, instance_type: str) -> str:
        """Raises `FineTuningError` if there is none: the job would start without weights."""
        key = self.training_instance_type_variants.gated_key(instance_type)
        if key is None:
            raise FineTuningError(
                Code.GATED_WEIGHTS_MISSING,
                f"JumpStart has no weights of {self.model_id} {self.version} for training on {instance_type}.",
                f"Set training.instance_type to {self.default_training_instance_type}.",
                field="training.instance_type",
            )
        return key

    def hyperparameters_on(self, instance_type: str) -> dict[str, Hyperparameter]:
        """The hyperparameters by name: those of the exact type, else of the family, else of the model."""
        merged = {parameter.name: parameter for parameter in self.hyperparameters}
        for variant in self.training_instance_type_variants.of(instance_type):
            merged |= {parameter.name: parameter for parameter in variant.properties.hyperparameters}
        return merged

    def metrics_on(self, instance_type: str) -> list[Metric]:
        merged = {metric.name: metric for metric in self.metrics}
        for variant in self.training_instance_type_variants.of(instance_type):
            merged |= {metric.name: metric for metric in variant.properties.metrics}
        return list(merged.values())

    def hosting_environment(self, instance_type: str) -> dict[str, str]:
        always = {v.name: str(v.default) for v in self.inference_environment_variables if v.required_for_model_class}
        return always | self.hosting_instance_type_variants.environment(instance_type)

    def _require_supported(self, instance_type: str, supported: tuple[str, ...], use: str) -> None:
        if instance_type not in supported:
            raise FineTuningError(
                Code.INSTANCE_TYPE_UNSUPPORTED,
                f"{self.model_id} {self.version} does not support the {use} instance type {instance_type}.",
                f"Choose one of {', '.join(supported)}.",
                field=f"{use}.instance_type",
            )

    def _no_image(self, instance_type: str, region: str, use: str) -> NoReturn:
        variants = self.training_instance_type_variants if use == "training" else self.hosting_instance_type_variants
        regions = sorted(variants.regional_aliases)
        where = f"in {region}" if region not in regions else f"for {instance_type} in {region}"
        raise FineTuningError(
            Code.REGION_UNSUPPORTED,
            f"JumpStart has no {use} image of {self.model_id} {self.version} {where}.",
            f"Deploy the stacks in one of {', '.join(regions)}.",
        )


def read_manifest(body: bytes) -> tuple[ManifestEntry, ...]:
    """Every model version in the manifest; entries without the fields needed here are ignored."""
    try:
        entries = orjson.loads(body)
        if not isinstance(entries, list):
            raise TypeError("it is not a list")
    except (orjson.JSONDecodeError, TypeError) as error:
        raise FineTuningError(
            Code.MODEL_SPEC_UNUSABLE,
            f"JumpStart's {MANIFEST_KEY} cannot be read: {error}.",
            "Set model_version, or try again later: AWS replaces this file now and then.",
        ) from error
    needed = ManifestEntry.model_fields.keys()
    return tuple(
        ManifestEntry.model_validate(entry)
        for entry in entries
        if isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in needed)
    )


def newest(manifest: tuple[ManifestEntry, ...], model_id: str) -> ManifestEntry | None:
    """The highest version of the model, None if there is none. Versions compare as numbers: 2.16 is after 2.9."""
    versions = [entry for entry in manifest if entry.model_id == model_id]
    return max(versions, key=lambda entry: _version_order(entry.version), default=None)


def spec_key(model_id: str, version: str) -> str:
    """Key of a version's specification; a pinned version does not need the manifest."""
    return f"community_models/{model_id}/specs_v{version}.json"


def read_spec(document: bytes | Mapping[str, Any], model_id: str) -> ModelSpec:
    """The specification, with the top-ranked configurations of training and inference merged over its top level.

    Raises `FineTuningError` with the model and every key that is missing or has an unexpected type.
    """
    try:
        raw = orjson.loads(document) if isinstance(document, bytes) else dict(document)
        inference, config_name = _first_usable_configuration(raw, "inference")
        training, _ = _first_usable_configuration(raw, "training")
        return ModelSpec.model_validate({**raw, **training, **inference, "inference_config_name": config_name})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _unusable(model_id, wrong) from error
    except _NoConfiguration as error:
        raise _unusable(model_id, str(error)) from error
    except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError, KeyError) as error:
        raise _unusable(model_id, f"{type(error).__name__}: {error}") from error


class _NoConfiguration(Exception):
    """Every ranked configuration needs something that this project does not provide."""


def _unusable(model_id: str, wrong: str) -> FineTuningError:
    return FineTuningError(
        Code.MODEL_SPEC_UNUSABLE,
        f"JumpStart's specification of {model_id} cannot be used: {wrong}.",
        "Set an earlier model_version, or report it: JumpStart may have changed the format of its documents.",
        field="model",
    )


def _first_usable_configuration(
    raw: Mapping[str, Any], use: Literal["training", "inference"]
) -> tuple[dict[str, Any], str | None]:
    """The merged components of the configuration that JumpStart ranks highest of those whose needs are met here, and
    its name. Raises `_NoConfiguration` with the reasons if there is none.
    """
    rankings = (raw.get(f"{use}_config_rankings") or {}).get("overall", {}).get("rankings") or []
    reasons = []
    for name in rankings:
        merged: dict[str, Any] = {}
        for component in raw[f"{use}_configs"][name]["component_names"]:
            merged |= raw[f"{use}_config_components"][component]
        need = _unmet_need(merged)
        if not need:
            return merged, name
        reasons.append(f"{name} needs {need}")
    if reasons:
        raise _NoConfiguration(f"no {use} configuration can be used: {'; '.join(reasons)}")
    return {}, None


def _unmet_need(configuration: Mapping[str, Any]) -> str:
    """What the configuration needs and this project does not provide, "" if it needs nothing else."""
    if configuration.get("hosting_additional_data_sources"):
        return "additional models, such as a draft model with a licence of its own"
    variants = configuration.get("hosting_instance_type_variants") or {}
    images = [uri for aliases in (variants.get("regional_aliases") or {}).values() for uri in aliases.values()]
    other = next((image for image in images if not _is_lmi(image)), None)
    return f"the image {other}, which is not DJL LMI's ({LMI})" if other else ""


def _is_lmi(image: str) -> bool:
    """`….amazonaws.com/djl-inference:0.29.0-lmi11.0.0-cu124` is one."""
    return re.split("[:@]", image.rpartition("/")[2])[0] == LMI


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
