"""The models this project tunes, and the tasks of each.

These are the only facts of models written in Python, because JumpStart's specifications do not say which tasks a
training script supports. The rows of Llama 3.1 are from an article of AWS on fine-tuning it, those of Llama 3 from
AWS's notebook on fine-tuning it; those of Llama 3.2, and the chat task of Llama 3, are assumed. Everything else comes
from the specification. Where the two differ the specification is used, and the plan says so.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.families.llama3 import LLAMA_3, LLAMA_3_1, LLAMA_3_2
from finetuning.jumpstart.family import DEFAULT_LENGTH, Family, ModelSupport, Task

DEFAULT_FAMILY = LLAMA_3_1
"""Used if a dataset is prepared, or an endpoint invoked, without a known model."""

_NO_INSTRUCTION = frozenset({Task.INSTRUCTION})
_QLORA_8 = "QLoRA (8-bit)"
_LLAMA = "meta-textgeneration-llama-"
CATALOGUE: dict[str, ModelSupport] = {
    support.model_id: support
    for support in (
        ModelSupport(
            _LLAMA + "3-1-405b-instruct-fp8", "2.4.0", LLAMA_3_1, "ml.p5.48xlarge", 8000, 8, "QLoRA", _NO_INSTRUCTION
        ),
        ModelSupport(_LLAMA + "3-1-405b-fp8", "2.4.0", LLAMA_3_1, "ml.p5.48xlarge", 8000, 8, "QLoRA", _NO_INSTRUCTION),
        ModelSupport(_LLAMA + "3-1-70b-instruct", "2.6.0", LLAMA_3_1, "ml.g5.48xlarge", 2000, 8, _QLORA_8, fsdp=False),
        ModelSupport(_LLAMA + "3-1-70b", "2.16.2", LLAMA_3_1, "ml.g5.48xlarge", 2000, 8, _QLORA_8, fsdp=False),
        ModelSupport(_LLAMA + "3-1-8b-instruct", "2.6.0", LLAMA_3_1, "ml.g5.12xlarge", 2000, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-1-8b", "2.6.0", LLAMA_3_1, "ml.g5.12xlarge", 2000, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-2-3b-instruct", "1.0.6", LLAMA_3_2, "ml.g5.12xlarge", DEFAULT_LENGTH, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-2-3b", "1.0.6", LLAMA_3_2, "ml.g5.12xlarge", DEFAULT_LENGTH, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-2-1b-instruct", "1.0.7", LLAMA_3_2, "ml.g5.2xlarge", DEFAULT_LENGTH, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-2-1b", "1.0.6", LLAMA_3_2, "ml.g5.2xlarge", DEFAULT_LENGTH, 4, "LoRA"),
        ModelSupport(
            _LLAMA + "3-70b-instruct", "2.25.0", LLAMA_3, "ml.g5.48xlarge", DEFAULT_LENGTH, 1, _QLORA_8, fsdp=False
        ),
        ModelSupport(_LLAMA + "3-70b", "2.26.0", LLAMA_3, "ml.g5.48xlarge", DEFAULT_LENGTH, 1, _QLORA_8, fsdp=False),
        ModelSupport(_LLAMA + "3-8b-instruct", "2.25.0", LLAMA_3, "ml.g5.12xlarge", DEFAULT_LENGTH, 4, "LoRA"),
        ModelSupport(_LLAMA + "3-8b", "2.24.0", LLAMA_3, "ml.g5.12xlarge", DEFAULT_LENGTH, 4, "LoRA"),
    )
}
FAMILIES: dict[str, Family] = {support.family.name: support.family for support in CATALOGUE.values()}
"""By name."""


def support(model_id: str) -> ModelSupport:
    """The model's row. Raises `FineTuningError` for a model that is not in the catalogue, with the nearest name."""
    if model_id in CATALOGUE:
        return CATALOGUE[model_id]
    near = nearest(model_id, CATALOGUE)
    raise FineTuningError(
        Code.MODEL_UNKNOWN,
        f"{model_id!r} is not a supported model.",
        f"Did you mean {near}?" if near else f"Choose one of {', '.join(CATALOGUE)}.",
        field="model",
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped name most likely means: one that begins with it, else the most similar one."""
    names = list(known)
    written = re.sub(r"[^a-z0-9_]+", "-", name.lower())
    begun = [candidate for candidate in names if written and candidate.startswith(written)]
    return next(iter(begun or get_close_matches(written, names)), None)
