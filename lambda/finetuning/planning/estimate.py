"""Estimates of a training: time is tokens × epochs ÷ tokens per second, cost is time × price."""

import math
from collections.abc import Iterable, Mapping

from finetuning.datasets.tokens import assumed_tokens
from finetuning.jumpstart.assumptions import Price, assumptions, upper_bound
from finetuning.jumpstart.family import ModelSupport
from finetuning.runs.plan import DataFile, Estimate, Measurement

LEAST_SHARE = 0.01
"""A smaller part of the tokens is not worth a proposal."""


def tokens_in(files: Iterable[DataFile]) -> int:
    """The approximate number of tokens in the files, including their markup: too many rather than too few."""
    known = assumptions()
    size = sum(
        file.size * (known.compression_factor if file.detection and file.detection.packed else 1) for file in files
    )
    return assumed_tokens(size)


def estimate(
    model: ModelSupport,
    instance_type: str,
    tokens: int | None,
    tokens_from: str,
    hyperparameters: Mapping[str, str],
    price: Price | None,
    measured: Measurement | None = None,
) -> Estimate:
    """Estimates one training. `tokens`: of one epoch, None if unknown; `tokens_from`: how they were counted.
    `measured`: what an earlier run of the model on the type took; without it the throughput is computed.
    """
    known = assumptions()
    epochs = math.ceil(float(hyperparameters.get("epoch", 1)))  # a model may lack this hyperparameter
    if measured:
        speed: float | None = measured.tokens_per_second
        start, source = measured.start_seconds, f"measured by {measured.run_id} on {measured.measured_at:%Y-%m-%d}"
    else:
        sharded = hyperparameters.get("enable_fsdp", "").lower() == "true"
        bound = upper_bound(model.parameters, instance_type, sharded=sharded)
        speed = None if bound is None else float(f"{bound * known.share_of_peak_planned_with:.3g}")
        start = known.training_start_seconds.get(model.model_id, 0)
        source = f"computed, assumed {known.as_of}, not measured"
    seconds = None if speed is None else round(start + (tokens or 0) * epochs / speed)
    return Estimate(
        tokens=tokens,
        tokens_from=tokens_from,
        speed_from=source,
        epochs=epochs,
        start_seconds=start,
        tokens_per_second=speed,
        seconds=seconds,
        usd_per_hour=price.usd_per_hour if price else None,
        usd=None if seconds is None or price is None else round(seconds / 3600 * price.usd_per_hour, 2),
        assumptions=[
            f"{tokens:,} tokens per epoch ({tokens_from})"
            if tokens is not None
            else "start-up only, because the size of the data is unknown",
            f"{speed:g} tokens/s on {instance_type} after {start:g} s of start-up ({source})"
            if speed is not None
            else f"unknown throughput of {model.model_id} on {instance_type}",
            f"{price.usd_per_hour:.2f} USD per hour ({price.source})" if price else f"unknown price of {instance_type}",
        ],
    )


def what_fits(predicted: Estimate, seconds: float, others: Mapping[str, Estimate]) -> str:
    """What of the training fits into `seconds`, as a sentence for the user: fewer epochs, a budget of tokens, and the
    types of `others` on which all of it fits. "" if nothing does.
    """
    ways = []
    if predicted.tokens and predicted.tokens_per_second:
        tokens = (seconds - predicted.start_seconds) * predicted.tokens_per_second
        epochs = tokens / predicted.tokens
        if 1 <= epochs < predicted.epochs:
            ways.append(f'"epoch": {int(epochs)} in hyperparameters')
        if LEAST_SHARE <= epochs / predicted.epochs < 1:
            ways.append(f'"max_tokens": {_rounded_down(tokens / predicted.epochs)} in data')
    for instance_type, other in others.items():
        cost = "" if other.usd is None else f", {other.usd:.2f} USD"
        ways.append(f"{instance_type} (about {(other.seconds or 0) / 3600:.1f} h{cost})")
    return f"What would fit: {'; or '.join(ways)}. " if ways else ""


def _rounded_down(tokens: float) -> int:
    """To two digits."""
    digits = str(int(tokens))
    return int(digits[:2].ljust(len(digits), "0"))
