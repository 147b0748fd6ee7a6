"""What a family of models is: what its models share, and models of another family do differently.

To add a family, write a module in `families`, name the family in the rows of its models in `catalogue`, and add their
documents to facts/.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypedDict

from finetuning.errors import Code, FineTuningError

DEFAULT_LENGTH = 1024
"""Tokens of a row that JumpStart's script reads where `max_input_length` is -1, or the model's maximum if less."""


PARAMETERS = {"1": 1.24, "3": 3.21, "8": 8.03, "70": 70.6, "405": 405.9}
"""Billions of parameters by the size that a model is named by, as in the model cards of Llama 3 to 3.2."""

BYTES_PER_PARAMETER = {"bf16": 2, "fp8": 1}


class Task(StrEnum):
    """JumpStart's three ways to train; each takes rows of one form."""

    CHAT = "chat"
    INSTRUCTION = "instruction"
    DOMAIN_ADAPTATION = "domain_adaptation"


class Message(TypedDict):
    """One turn of a dialog, in the form of JumpStart's chat datasets."""

    role: str
    content: str


@dataclass(frozen=True)
class Conflict:
    """Hyperparameters that contradict each other; the first is the one to change."""

    hyperparameters: tuple[str, ...]
    message: str
    fix: str


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary that tiktoken reads. `package`: the folder on Python's path with its tokenizer.model, which is not
    part of this repository; `pattern`: how a text is cut into the pieces that tokens are made of; `special_tokens`: in
    the order of their numbers, which follow those of the vocabulary.
    """

    package: str
    pattern: str
    special_tokens: tuple[str, ...]


class Family(Protocol):
    """The chat template, the licence and the hyperparameter rules of a family."""

    @property
    def name(self) -> str:
        """As its publisher writes it: "Llama 3.1". The documents of a run name the family by it."""

    @property
    def licence_url(self) -> str | None:
        """The licence that has to be accepted before the weights may be used, None where there is none."""

    @property
    def architecture(self) -> str:
        """The class of the model, as its config.json names it."""

    @property
    def context(self) -> int:
        """The longest context of its models in tokens (`max_position_embeddings`)."""

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """The tokens at which a turn of a chat, or a text, can end."""

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The same tokens, spelled out."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """None if tiktoken cannot count the family's tokens."""

    def chat_text(self, messages: Iterable[Message], *, add_generation_prompt: bool) -> str:
        """A dialog in the family's chat template, special tokens spelled out.

        `add_generation_prompt` ends the text where the assistant's answer begins.
        """

    def task_flags(self, task: Task) -> Mapping[str, str]:
        """The hyperparameters that tell the training script its task."""

    def conflicts(self, model: "ModelSupport", values: Mapping[str, str]) -> Iterator[Conflict]:
        """The training script's rules across several hyperparameters that `values`, all of a job's, break.

        A hyperparameter that the model does not have breaks no rule.
        """


@dataclass(frozen=True)
class ModelSupport:
    """A model that can be tuned. `version`: the newest that this project's facts were checked against, and the default
    of a run. `input_length` (tokens) and `train_batch` (rows per device) are the training script's defaults.
    """

    model_id: str
    version: str
    family: Family
    training_instance_type: str
    input_length: int
    train_batch: int
    method: str
    planned: frozenset[Task] = frozenset()
    """Tasks that JumpStart has announced for the model and does not offer yet."""
    fsdp: bool = True
    """Whether the training script can shard the model (`enable_fsdp`); the specification does not say."""

    @property
    def size(self) -> str:
        """The size in the model's name: "8" for 8B."""
        size = re.search(r"-(\d+)b(-|$)", self.model_id)
        return size[1] if size else ""

    @property
    def parameters(self) -> float:
        """In billions, by the size in the model's name. Raises KeyError for a size that `PARAMETERS` lacks."""
        return PARAMETERS[self.size]

    @property
    def dtype(self) -> str:
        """Of the weights; that the tuned model keeps it is assumed."""
        return "fp8" if self.model_id.endswith("-fp8") else "bf16"

    @property
    def gigabytes(self) -> float:
        """Of the weights."""
        return self.parameters * BYTES_PER_PARAMETER[self.dtype]

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(task for task in Task if task not in self.planned)

    def require(self, task: Task) -> Task:
        """The task; raises `FineTuningError` for one the model cannot be tuned for."""
        if task in self.planned:
            raise FineTuningError(
                Code.TASK_UNSUPPORTED,
                f"{task} tuning of {self.model_id} is planned by JumpStart and not available yet.",
                f"Set task to one of {', '.join(self.tasks)}, or choose a smaller model.",
                field="task",
            )
        return task
