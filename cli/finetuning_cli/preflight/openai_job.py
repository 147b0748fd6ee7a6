"""A fine-tuning job of OpenAI's API as a run.json: what each of its fields becomes, and what has no equivalent.

A job is the object that the API returns, or the body that creates one (OpenAI's API reference, "Fine-tuning").
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetuning.datasets.sides import Side, side_named
from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.spec import Hyperparameter, ModelSpec
from finetuning.runs.run_json import read_request
from finetuning_cli.preflight.run_file import run_document

Auto = Literal["auto"]


class _Part(BaseModel):
    """Fields that are not named here are kept, to be named as unused."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _Hyperparameters(_Part):
    n_epochs: Auto | int | None = None
    batch_size: Auto | int | None = None
    learning_rate_multiplier: Auto | float | None = None


class _Settings(_Part):
    hyperparameters: _Hyperparameters | None = None


class _Method(_Part):
    type: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    supervised: _Settings | None = None
    dpo: _Settings | None = None


class OpenAIJob(_Part):
    """The fields that mean something to a run. `hyperparameters` beside `method` is the older form."""

    object: Literal["fine_tuning.job"] | None = None
    model: str = ""
    training_file: str = ""
    validation_file: str | None = None
    suffix: str | None = None
    fine_tuned_model: str | None = None
    seed: int | None = None
    method: _Method = Field(default_factory=_Method)
    hyperparameters: _Hyperparameters | None = None

    @property
    def chosen(self) -> _Hyperparameters:
        settings = self.method.dpo if self.method.type == "dpo" else self.method.supervised
        return (settings and settings.hyperparameters) or self.hyperparameters or _Hyperparameters()

    @property
    def name(self) -> str:
        """The suffix; the API returns it only as a part of the model's name, `ft:MODEL:ORGANISATION:SUFFIX:ID`."""
        parts = (self.fine_tuned_model or "").split(":")
        return self.suffix or (parts[3] if parts[0] == "ft" and len(parts) == 5 else "")


RESULT_FIELDS = frozenset(
    (
        *("id", "created_at", "finished_at", "estimated_finish", "status", "error"),
        *("organization_id", "result_files", "trained_tokens"),
    )
)
"""Fields that say how the job went."""


class Decision(NamedTuple):
    """What becomes of a field of the job, in words. `setting`: the field of run.json, its part first, and the value."""

    field: str
    value: str
    becomes: str
    setting: tuple[str, str, Any] | None = None


class PlacedFile(NamedTuple):
    """A given file, and where it goes in the upload's folder: `train/`, `validation/` or `test/`."""

    source: Path
    target: str
    why: str

    def is_in(self, folder: Path) -> bool:
        """True if the file is where it goes already."""
        return (folder / self.target).resolve() == self.source.resolve()


def read_job(path: Path) -> OpenAIJob:
    """Raises `FineTuningError` (OPENAI_JOB_UNUSABLE)."""
    try:
        return OpenAIJob.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise FineTuningError(
            Code.OPENAI_JOB_UNUSABLE,
            f"{path} is not a fine-tuning job: {where + ': ' if where else ''}{first['msg']}.",
            "Save one job as the API returns it: `client.fine_tuning.jobs.retrieve(id).to_json()`.",
        ) from error


def run_settings(
    job: OpenAIJob, spec: ModelSpec, *, accept_eula: bool, max_cost_usd: float | None
) -> tuple[dict[str, Any], list[Decision]]:
    """run.json, and what became of each field of the job that has a value.

    Raises `FineTuningError` (OPENAI_JOB_UNUSABLE) for reinforcement, which this project has no training for.
    """
    if job.method.type == "reinforcement":
        raise FineTuningError(
            Code.OPENAI_JOB_UNUSABLE,
            "The job trains by reinforcement. JumpStart's script trains on answers, and has no graders.",
            "Write the answers to learn into a file of messages, and leave out --job or set its method to supervised.",
        )
    document = run_document(spec.model_id, "chat", accept_eula=accept_eula, max_cost_usd=max_cost_usd)
    decisions = list(_decisions(job, spec.model_id, spec.hyperparameters_on(spec.default_training_instance_type)))
    for decision in decisions:
        if decision.setting:
            part, name, value = decision.setting
            document.setdefault(part, {})[name] = value
    return document, decisions


def _decisions(job: OpenAIJob, model_id: str, known: dict[str, Hyperparameter]) -> Iterator[Decision]:
    chosen = job.chosen
    if job.model:
        yield Decision("model", job.model, f"not used: it cannot be trained here; this run trains {model_id}")
    method = "supervised training on the preferred answers" if job.method.type == "dpo" else "supervised training"
    yield Decision("method", job.method.type, method)
    if chosen.n_epochs is not None:
        yield _number("n_epochs", chosen.n_epochs, known["epoch"])
    if chosen.batch_size is not None:
        ours = known["per_device_train_batch_size"]
        why = f"OpenAI counts the examples of a step, {ours.name} those of a GPU"
        yield Decision("batch_size", str(chosen.batch_size), f"not used: {why}; the default {ours.default} stays")
    if chosen.learning_rate_multiplier is not None:
        ours, why = known["learning_rate"], "it scales a rate that OpenAI does not publish"
        becomes = f"not used: {why}; the default {ours.name} {ours.default} stays"
        yield Decision("learning_rate_multiplier", str(chosen.learning_rate_multiplier), becomes)
    if job.seed is not None:
        yield _number("seed", job.seed, known["seed"])
    if job.name and (name := endpoint_name(job.name)):
        yield Decision("suffix", job.name, f"endpoint.name {name}", ("endpoint", "name", name))
    elif job.name:
        yield Decision("suffix", job.name, "not used: it has no character that an endpoint's name may have")
    for field, value in (*_unused(chosen), *_unused(job)):
        if field not in RESULT_FIELDS and value not in (None, [], {}, ""):
            yield Decision(field, str(value)[:60], "not used: a run has no such setting")


def _number(field: str, value: int | Auto, ours: Hyperparameter) -> Decision:
    """Of a number that a hyperparameter of the model takes, if it is in its range."""
    if value == "auto":
        return Decision(field, value, f"the model's default {ours.name} {ours.default}")
    if (ours.min is not None and value < ours.min) or (ours.max is not None and value > ours.max):
        becomes = f"not used: {ours.name} is {ours.min:g} to {ours.max:g}; the default {ours.default} stays"
        return Decision(field, str(value), becomes)
    return Decision(field, str(value), f"hyperparameters.{ours.name} {value}", ("hyperparameters", ours.name, value))


def _unused(part: _Part) -> list[tuple[str, Any]]:
    return list((part.model_extra or {}).items())


def endpoint_name(suffix: str) -> str:
    """The suffix with a hyphen for each run of characters that an endpoint's name cannot have; "" if none is left."""
    name = re.sub(r"[^a-zA-Z0-9]+", "-", suffix)[:40].strip("-")
    findings = read_request(b'{"endpoint": {"name": "%s"}}' % name.encode())[1]
    return "" if findings or not name else name


def place(files: Sequence[Path], job: OpenAIJob) -> list[PlacedFile]:
    """Where each file goes: as the job says if its name has the id of the job's file, else as its own name says.

    Raises `FineTuningError` (OPENAI_JOB_UNUSABLE) if the job has a file for validation and none of these is one.
    """
    placed: list[PlacedFile] = []
    for path in files:
        side, why = _side(path, job)
        target = f"{side}/{path.name}"
        if side_named(target) is not side or any(each.target == target for each in placed):
            target = f"{side}/{side}-{len(placed) + 1}{''.join(PurePosixPath(path.name).suffixes)}"
        placed.append(PlacedFile(path, target, why))
    if job.validation_file and all(not each.target.startswith(f"{Side.VALIDATION}/") for each in placed):
        raise FineTuningError(
            Code.OPENAI_JOB_UNUSABLE,
            f"The job has a validation file ({job.validation_file}), which is not among these files.",
            f"Add it, with `validation` or {job.validation_file} in its name; or set validation_file to null.",
        )
    return placed


def _side(path: Path, job: OpenAIJob) -> tuple[Side, str]:
    for side, id in ((Side.TRAIN, job.training_file), (Side.VALIDATION, job.validation_file)):
        if id and id in path.name:
            return side, "named by the job"
    side_by_name = side_named(path.name)
    return (side_by_name, "by its name") if side_by_name else (Side.TRAIN, "default")
