"""What SageMaker hands to a training container, and what it takes from it: the folder `/opt/ml`, under any root.

The hyperparameters are those of JumpStart's Llama training script (spec version 2.16.2), with its defaults.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FAILURE_MAX_CHARS = 1024  # SageMaker shows no more of output/failure

Task = Literal["chat", "instruction", "domain_adaptation"]


class JobError(Exception):
    """The job cannot go on; the message is for the person who configured it and ends in output/failure."""


class Hyperparameters(BaseModel):
    """The job's hyperparameters. What configures GPUs is accepted and has no effect here (`WITHOUT_EFFECT`)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    instruction_tuned: bool = False
    chat_dataset: bool = False
    add_input_output_demarcation_key: bool = True
    epoch: int = Field(5, ge=1, le=1000)
    learning_rate: float = Field(1e-4, ge=1e-8, le=1)
    lora_r: int = Field(8, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.05, ge=0, le=1)
    target_modules: str = "q_proj,v_proj"
    per_device_train_batch_size: int = Field(1, ge=1, le=1000)
    per_device_eval_batch_size: int = Field(1, ge=1, le=1000)
    max_input_length: int = Field(-1, ge=-1)
    max_train_samples: int = Field(-1, ge=-1)
    max_val_samples: int = Field(-1, ge=-1)
    validation_split_ratio: float = Field(0.2, ge=0, le=1)
    train_data_split_seed: int = 0
    seed: int = Field(10, ge=1, le=1000)
    int8_quantization: bool = True
    enable_fsdp: bool = False

    @property
    def task(self) -> Task:
        if self.chat_dataset:
            return "chat"
        return "instruction" if self.instruction_tuned else "domain_adaptation"

    @property
    def modules(self) -> list[str]:
        return [name.strip() for name in self.target_modules.split(",") if name.strip()]

    @model_validator(mode="after")
    def _modes_exclude_each_other(self) -> Self:
        if self.chat_dataset and self.instruction_tuned:
            raise ValueError("at most one of instruction_tuned and chat_dataset may be True")
        if self.int8_quantization == self.enable_fsdp:
            raise ValueError("exactly one of int8_quantization and enable_fsdp must be True")
        return self


WITHOUT_EFFECT = frozenset({"int8_quantization", "enable_fsdp", "preprocessing_num_workers", "chat_template"})


class OptMl:
    """The job's files under `root`."""

    def __init__(self, root: Path) -> None:
        self.model = root / "model"
        self._input = root / "input"
        self._failure = root / "output" / "failure"

    def raw_hyperparameters(self) -> dict[str, str]:
        """`hyperparameters.json` without the JSON quotes that SDK version 2 puts around strings."""
        found = self._config("hyperparameters.json")
        if wrong := [name for name, value in found.items() if not isinstance(value, str)]:
            raise JobError(f"hyperparameters.json: SageMaker's values are strings; not so: {', '.join(wrong)}")
        return {name: _unquoted(value) for name, value in found.items()}

    def hyperparameters(self) -> Hyperparameters:
        try:
            return Hyperparameters.model_validate(self.raw_hyperparameters())
        except ValidationError as error:
            raise JobError("; ".join(_explained(error))) from error

    def channel(self, name: str) -> Path | None:
        """The folder of a declared channel; None when the job has no such channel."""
        if name not in self._config("inputdataconfig.json"):
            return None
        folder = self._input / "data" / name
        if not folder.is_dir() or not any(folder.iterdir()):
            raise JobError(f"channel {name!r} is declared, but {folder} holds no file")
        return folder

    def fail(self, message: str) -> None:
        """Writes the reason that DescribeTrainingJob will show."""
        self._failure.parent.mkdir(parents=True, exist_ok=True)
        self._failure.write_text(message[:FAILURE_MAX_CHARS], encoding="utf-8")

    def _config(self, name: str) -> dict[str, Any]:
        file = self._input / "config" / name
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise JobError(f"{file} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise JobError(f"{file} holds no JSON object")
        return found


def _unquoted(value: str) -> str:
    try:
        inner = json.loads(value)
    except ValueError:
        return value
    return inner if isinstance(inner, str) else value


def _explained(error: ValidationError) -> Sequence[str]:
    findings = []
    for detail in error.errors():
        if detail["loc"]:
            findings.append(f"hyperparameter {detail['loc'][0]}={detail['input']!r}: {detail['msg']}")
        else:
            findings.append(f"hyperparameters: {detail['msg'].removeprefix('Value error, ')}")
    return findings
