"""Which of the Llama 3.1 models this project tunes, and for which tasks.

The only facts of models written in Python, from an article of AWS on fine-tuning Llama 3.1: JumpStart's specifications
do not say which tasks a model's training script supports. Everything else comes from the specification, which wins
where the two differ; the plan says so.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.family import Task


@dataclass(frozen=True)
class ModelSupport:
    """A row of its table. `input_length` in tokens, `train_batch` per device."""

    model_id: str
    training_instance_type: str
    input_length: int
    train_batch: int
    method: str
    planned: frozenset[Task] = frozenset()
    """Tasks JumpStart announced for the model and does not offer yet."""
    fsdp: bool = True
    """Whether the training script can shard the model (`enable_fsdp`); the specification's ranges do not tell."""

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


_NO_INSTRUCTION = frozenset({Task.INSTRUCTION})
_LLAMA = "meta-textgeneration-llama-3-1-"
CATALOGUE: dict[str, ModelSupport] = {
    support.model_id: support
    for support in (
        ModelSupport(_LLAMA + "405b-instruct-fp8", "ml.p5.48xlarge", 8000, 8, "QLoRA", _NO_INSTRUCTION),
        ModelSupport(_LLAMA + "405b-fp8", "ml.p5.48xlarge", 8000, 8, "QLoRA", _NO_INSTRUCTION),
        ModelSupport(_LLAMA + "70b-instruct", "ml.g5.48xlarge", 2000, 8, "QLoRA (8-bit)", fsdp=False),
        ModelSupport(_LLAMA + "70b", "ml.g5.48xlarge", 2000, 8, "QLoRA (8-bit)", fsdp=False),
        ModelSupport(_LLAMA + "8b-instruct", "ml.g5.12xlarge", 2000, 4, "LoRA"),
        ModelSupport(_LLAMA + "8b", "ml.g5.12xlarge", 2000, 4, "LoRA"),
    )
}


def support(model_id: str) -> ModelSupport:
    """Raises `FineTuningError` for a model that is not one of the six, with the nearest name."""
    if model_id in CATALOGUE:
        return CATALOGUE[model_id]
    near = nearest(model_id, CATALOGUE)
    raise FineTuningError(
        Code.MODEL_UNKNOWN,
        f"{model_id!r} is not a model this project can tune.",
        f"Did you mean {near}?" if near else f"Choose one of {', '.join(CATALOGUE)}.",
        field="model",
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one most likely means: one it is the beginning of, else the most similar."""
    names = list(known)
    written = re.sub(r"[^a-z0-9_]+", "-", name.lower())
    begun = [candidate for candidate in names if written and candidate.startswith(written)]
    return next(iter(begun or get_close_matches(written, names, n=1)), None)
