"""What a user uploaded, and what it is checked against: the model's specification and the prices."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from finetuning.datasets.formats import Detection
from finetuning.errors import Code, Finding, FineTuningError
from finetuning.jumpstart.assumptions import Price
from finetuning.jumpstart.catalogue import CATALOGUE, nearest, support
from finetuning.jumpstart.spec import ModelSpec
from finetuning.planning.checklist import Checklist
from finetuning.planning.estimate import tokens_in
from finetuning.runs.plan import DataFile, Measurement
from finetuning.runs.run_json import RunRequest
from finetuning.runs.uploads import Upload
from finetuning.settings import DeployedStage

LookUp = Callable[[str, Literal["training", "hosting"]], Price | None]
"""The price of an instance type for training or hosting, None if it is unknown."""

ReadSpec = Callable[[str, str | None], ModelSpec]
"""Reads the specification of a model, in the given version or the default one; raises `FineTuningError`."""


@dataclass(frozen=True)
class Submission:
    """An upload: run.json, template.json and the data files, each with its detection."""

    upload: Upload
    request: RunRequest
    planned_at: datetime
    files: tuple[DataFile, ...] = ()
    template_file: bytes | None = None
    """The upload's template.json."""

    @property
    def detections(self) -> list[tuple[str, Detection]]:
        """(file name, detection) of each file that was read."""
        return [(file.name, file.detection) for file in self.files if file.detection]

    @property
    def parquet(self) -> bool:
        return any(file.is_parquet for file in self.files)

    @property
    def columns(self) -> set[str]:
        """The columns of the files' first rows; empty if there are none or they are not known yet."""
        return {column for _, detection in self.detections for column in detection.columns}

    @property
    def tokens(self) -> int | None:
        return tokens_in(self.files) if self.files else None


@dataclass(frozen=True)
class Prices:
    """Prices by instance type, and what the last training of the model took there. Missing types are unknown."""

    training: Mapping[str, Price]
    hosting: Mapping[str, Price]
    measured: Mapping[str, Measurement] = field(default_factory=dict)


def training_types(request: RunRequest, spec: ModelSpec) -> list[str]:
    """The instance types to check, the preferred one first: those of run.json, else all that the model supports."""
    first = request.training.instance_type or spec.default_training_instance_type
    chosen = request.training.fallback_instance_types
    return list(dict.fromkeys([first, *(spec.supported_training_instance_types if chosen is None else chosen)]))


def endpoint_type(request: RunRequest, spec: ModelSpec) -> str:
    return request.endpoint.instance_type or spec.default_inference_instance_type


def look_up_prices(request: RunRequest, spec: ModelSpec, look_up: LookUp) -> Prices:
    """The prices a plan may need: of the requested types, and of the default types that replace unsupported ones."""
    training = {*training_types(request, spec), spec.default_training_instance_type}
    hosting = {
        endpoint_type(request, spec),
        *request.endpoint.fallback_instance_types,
        spec.default_inference_instance_type,
    }
    return Prices(
        training={t: price for t in sorted(training) if (price := look_up(t, "training"))},
        hosting={t: price for t in sorted(hosting) if (price := look_up(t, "hosting"))},
    )


def settle_model(
    request: RunRequest, stage: DeployedStage, read_spec: ReadSpec, checklist: Checklist
) -> ModelSpec | None:
    """The specification of the requested model, or None if none can be read.

    An unknown model or version is a finding; the other checks then use the model that was most likely meant.
    """
    model_id, version = request.model or stage.default_model, request.model_version
    if checklist.attempt("model", lambda: support(model_id)) is None:
        model_id, version = nearest(model_id, CATALOGUE) or stage.default_model, None
    spec = checklist.attempt("model", lambda: read_spec(model_id, version))
    if spec is None and version is not None:
        with suppress(FineTuningError):  # the problem with the requested version is a finding already
            return read_spec(model_id, None)
    if spec is not None and not spec.fine_tuning_supported:
        message = f"{spec.model_id} {spec.version} cannot be fine-tuned, according to its JumpStart specification."
        fix = "Set another model_version, or choose another model."
        checklist.found("model", Finding(Code.MODEL_SPEC_UNUSABLE, "model", message, fix))
    return spec
