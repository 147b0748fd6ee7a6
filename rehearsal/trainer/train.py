"""One training job: a LoRA fine-tune on the CPU, with the contract, the data and the log lines of JumpStart's script.

    python -m rehearsal.trainer.train --root DIR --base-model FOLDER [--max-tokens N]

Reads `DIR/input`, writes `DIR/model` (the merged model, ready to serve, and the adapter in `adapter/`), or
`DIR/output/failure` and exit code 1. SIGTERM, SageMaker's way to stop a job, ends it with code 143 and no model.

The metric lines match the regular expressions of the model's spec. Unlike JumpStart's script this one also
evaluates before the first step (epoch 0), so that the curve shows where the training began. One process stands for the
instance: the batch is `per_device_train_batch_size`, not multiplied by a number of GPUs. And it trains on no more data
than a CPU gets through while someone waits (`--max-tokens`), and says so: a rehearsal shows the way, not the model.
"""

import argparse
import math
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any

from rehearsal.trainer.opt_ml import WITHOUT_EFFECT, Hyperparameters, JobError, OptMl
from rehearsal.trainer.samples import IGNORED, Sample, read_samples, split

MICRO_BATCH_TOKENS = 512  # 4 × 1024 tokens at once took 12 GB
COMPUTE = 1.2e12  # weights × training tokens: two cores take about two minutes
LEAST_WEIGHTS = 5_000_000  # a smaller model is no faster
STOPPED = 128 + signal.SIGTERM


def run(job: OptMl, base_model: Path, max_tokens: int | None = None) -> None:
    """The whole job. `max_tokens`: training tokens over all epochs; None for what `COMPUTE` allows this model."""
    settings = job.hyperparameters()
    log(f"task {settings.task}, hyperparameters {settings.model_dump_json()}")
    if ignored := sorted(WITHOUT_EFFECT & job.raw_hyperparameters().keys()):
        log(f"without effect on a CPU: {', '.join(ignored)}")
    training_channel, validation_channel = job.channel("training"), job.channel("validation")
    if training_channel is None:
        raise JobError("the job has no channel 'training'")

    log("loading libraries and the base model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    # float32: without AMX or avx512_bf16 a step in bfloat16 takes ten times as long.
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)

    model_max_tokens = model.config.max_position_embeddings
    train = read_samples(training_channel, settings, tokenizer, model_max_tokens)
    if validation_channel is not None:
        validation = read_samples(validation_channel, settings, tokenizer, model_max_tokens)
    else:
        train, validation = split(train, settings)
    train, validation = first(train, settings.max_train_samples), first(validation, settings.max_val_samples)
    if not train:
        raise JobError("nothing is left to train on: lower validation_split_ratio")
    log(f"{len(train)} training samples, {len(validation)} validation samples")
    if max_tokens is None:
        max_tokens = int(COMPUTE / max(model.num_parameters(), LEAST_WEIGHTS))
    train, validation = within(max_tokens, train, validation, settings.epoch)

    tuned = fine_tune(with_adapter(model, settings), train, validation, settings, tokenizer.pad_token_id)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # two seconds from the end: a whole model beats half of one
    save(tuned, tokenizer, job.model)
    log(f"model written to {job.model}")


def with_adapter(model: Any, settings: Hyperparameters) -> Any:
    from peft import LoraConfig, get_peft_model

    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.modules,
    )
    try:
        return get_peft_model(model, adapter)
    except ValueError as error:  # names the modules that the model does not have
        raise JobError(f"target_modules={settings.target_modules}: {error}") from error


def fine_tune(
    model: Any, train: Sequence[Sample], validation: Sequence[Sample], settings: Hyperparameters, pad_id: int
) -> Any:
    """Trains the adapter of `model` and returns it as of its best epoch by validation loss (the last, without one)."""
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], settings.learning_rate)
    order = random.Random(settings.seed)  # noqa: S311 - no secret
    best_loss, best_epoch, best_adapter = math.inf, 0, None
    if validation:
        evaluate(model, validation, pad_id, epoch=0)
    for epoch in range(1, settings.epoch + 1):
        started = time.monotonic()
        shuffled = order.sample(train, len(train))
        loss = train_epoch(model, optimizer, shuffled, settings, pad_id, epoch)
        seconds = time.monotonic() - started
        log(f"Epoch {epoch}: train_perplexity={perplexity(loss):.4f}, train_epoch_loss={loss:.4f}, took {seconds:.1f}s")
        if not validation:
            continue
        loss = evaluate(model, validation, pad_id, epoch)
        if loss < best_loss:
            best_loss, best_epoch = loss, epoch
            best_adapter = {name: value.clone() for name, value in get_peft_model_state_dict(model).items()}
    if best_adapter is not None and best_epoch != settings.epoch:
        set_peft_model_state_dict(model, best_adapter)
        log(f"keeping epoch {best_epoch}: its validation loss {best_loss:.4f} is the lowest")
    return model


def train_epoch(
    model: Any, optimizer: Any, samples: Sequence[Sample], settings: Hyperparameters, pad_id: int, epoch: int
) -> float:
    """One pass over `samples`; the mean loss of a counted token."""
    import torch

    model.train()
    total = tokens = 0.0
    batches = list(chunks(samples, settings.per_device_train_batch_size))
    for step, batch in enumerate(batches):  # JumpStart's script logs the first step as 0, too
        targets = count_targets(batch)
        step_loss = 0.0
        for micro_batch in micro_batches(batch):
            loss = model(**tensors(micro_batch, pad_id), num_items_in_batch=targets).loss
            loss.backward()
            step_loss += loss.item()
        if not math.isfinite(step_loss):
            raise JobError(
                f"the loss became {step_loss} in epoch {epoch}: lower learning_rate={settings.learning_rate}"
            )
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total, tokens = total + step_loss * targets, tokens + targets
        log(f"Training Epoch: {epoch}/{settings.epoch}, step {step}/{len(batches)} completed (loss: {step_loss:.4f})")
    return total / tokens


def evaluate(model: Any, samples: Sequence[Sample], pad_id: int, epoch: int) -> float:
    """The mean loss of a counted token of `samples`, written as the metric line of `epoch`.

    It is the same for every `per_device_eval_batch_size`.
    """
    import torch

    model.eval()
    targets = count_targets(samples)
    loss = 0.0
    with torch.inference_mode():
        for micro_batch in micro_batches(samples):
            loss += model(**tensors(micro_batch, pad_id), num_items_in_batch=targets).loss.item()
    when = " before training" if epoch == 0 else ""
    log(f"Epoch {epoch}: eval_ppl=tensor({perplexity(loss):.4f}) eval_epoch_loss=tensor({loss:.4f}){when}")
    return loss


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """The adapter, and the model with the adapter merged in: computed in float32, kept in float16, half the size."""
    import torch

    model.save_pretrained(folder / "adapter")
    merged = model.merge_and_unload()
    merged.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def chunks(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for at in range(0, len(samples), size):
        yield samples[at : at + size]


def micro_batches(batch: Sequence[Sample]) -> Iterator[list[Sample]]:
    """`batch` in parts of at most MICRO_BATCH_TOKENS with their padding; one longer sample makes a part of its own."""
    part: list[Sample] = []
    for sample in sorted(batch, key=lambda sample: len(sample.ids)):
        if part and len(sample.ids) * (len(part) + 1) > MICRO_BATCH_TOKENS:
            yield part
            part = []
        part.append(sample)
    yield part


def count_targets(samples: Sequence[Sample]) -> int:
    """Counted tokens that have a predecessor to be predicted from."""
    return sum(sum(sample.counted[1:]) for sample in samples)


def tensors(samples: Sequence[Sample], pad_id: int) -> dict[str, Any]:
    """Model inputs of shape (samples, longest sample), padded on the right."""
    import torch

    longest = max(len(sample.ids) for sample in samples)

    def padded(rows: list[list[int]], value: int) -> Any:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([list(sample.ids) for sample in samples], pad_id),
        "attention_mask": padded([[1] * len(sample.ids) for sample in samples], 0),
        "labels": padded([sample.labels for sample in samples], IGNORED),
    }


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 100.0))


def within(
    max_tokens: int, train: list[Sample], validation: list[Sample], epochs: int
) -> tuple[list[Sample], list[Sample]]:
    """As many of the first samples as `max_tokens` allow over all epochs, at least one of each.

    Validation may take as many tokens again: without a backward pass they cost a third.
    """
    kept = affordable(train, max_tokens // epochs), affordable(validation, max_tokens // (epochs + 1))
    for samples, all_samples, purpose in zip(kept, (train, validation), ("training", "validation"), strict=True):
        if len(samples) < len(all_samples):
            log(f"{purpose} uses {len(samples)} of {len(all_samples)} samples: all of them would take a CPU too long")
    return kept


def affordable(samples: list[Sample], max_tokens: int) -> list[Sample]:
    lengths = accumulate(len(sample.ids) for sample in samples)
    return samples[: max(1, sum(length <= max_tokens for length in lengths))]


def first(samples: list[Sample], limit: int) -> list[Sample]:
    return samples if limit < 0 else samples[:limit]


def log(message: str) -> None:
    print(message, flush=True)


def stop(_signal: int, _frame: FrameType | None) -> None:
    log("stopped by SIGTERM: no model is written")
    sys.exit(STOPPED)


def main() -> None:
    parser = argparse.ArgumentParser(description="One training job with the contract of a SageMaker container.")
    parser.add_argument("--root", type=Path, required=True, help="the folder in place of /opt/ml")
    parser.add_argument("--base-model", type=Path, required=True, help="a folder that rehearsal.trainer.weights made")
    parser.add_argument("--max-tokens", type=int, help="training tokens over all epochs; default: some two minutes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    job = OptMl(arguments.root)
    try:
        run(job, arguments.base_model, arguments.max_tokens)
    except JobError as error:
        job.fail(str(error))
        parser.exit(1, f"{error}\n")
    except Exception as error:  # noqa: BLE001 - a container's last word: SageMaker shows this file and nothing else
        traceback.print_exc()
        job.fail(f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
