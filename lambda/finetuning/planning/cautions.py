"""Warnings about a training that AWS would start, and that would probably not train well. They stop no run.

Both are from reports of other users: JumpStart's script joins the rows to blocks of `max_input_length` tokens and ended
with `num_samples=0` if a GPU got no batch of them (AWS's forum); a learning rate of 2e-4 over 3 epochs made a model of
3 billion parameters answer "." to everything. That a model that is not sharded is trained by one process is assumed.
"""

from collections import defaultdict
from collections.abc import Sequence

from finetuning.jumpstart.assumptions import gpus_of
from finetuning.jumpstart.family import ModelSupport
from finetuning.jumpstart.hyperparameters import input_length
from finetuning.planning.checklist import Checklist
from finetuning.runs.plan import TrainingOption

BATCHES, LEARNING_RATE = "batches", "learning rate"
"""The checks that these warnings are lines of."""

HIGH_LEARNING_RATE, SEVERAL_EPOCHS = 2e-4, 2


def check_batches(model: ModelSupport, options: Sequence[TrainingOption], checklist: Checklist) -> None:
    """Warns of the instance types on which the data does not fill a batch for every GPU."""
    tokens = options[0].estimate.tokens
    short: dict[int, dict[tuple[int, str], list[str]]] = defaultdict(lambda: defaultdict(list))
    for option in options:
        given, gpus = option.hyperparameters, gpus_of(option.instance_type)
        if tokens is None or gpus is None:
            continue
        length = input_length(given, model.input_length)
        batch = int(given.get("per_device_train_batch_size", model.train_batch))
        processes = gpus if given.get("enable_fsdp", "").lower() == "true" else 1
        if tokens // length < processes * batch:
            each = f"{processes} GPUs × {batch}" if processes > 1 else f"a batch of {batch}"
            short[length][processes * batch, each].append(option.instance_type)
    for length, needed in short.items():
        blocks, most = (tokens or 0) // length, max(needed)[0]
        least = ", ".join(f"{blocks} on {', '.join(types)} ({each})" for (blocks, each), types in needed.items())
        checklist.warned(
            BATCHES,
            f"The data may be too little: {tokens:,} tokens fill {blocks} block{'' if blocks == 1 else 's'} of "
            f"{length:,} (max_input_length), and an epoch needs at least {least}. Training may end without a step.",
            f"Add data (at least {most * length:,} tokens), or lower max_input_length or per_device_train_batch_size.",
        )


def check_learning_rate(option: TrainingOption, checklist: Checklist) -> None:
    """Warns of a learning rate that has ruined a model."""
    rate, epochs = float(option.hyperparameters.get("learning_rate", 0)), option.estimate.epochs
    if rate >= HIGH_LEARNING_RATE and epochs >= SEVERAL_EPOCHS:
        checklist.warned(
            LEARNING_RATE,
            f"A learning rate of {rate:g} over {epochs} epochs is high: with 0.0002 over 3 epochs a model of "
            '3 billion parameters answered "." to everything.',
            "Lower learning_rate (0.0001 is JumpStart's default), or set epoch to 1.",
        )
