"""Estimates of a training: time is tokens × epochs ÷ tokens per second, cost is time × price."""

from collections.abc import Iterable

from finetuning.jumpstart.assumptions import Price, assumptions
from finetuning.runs.plan import DataFile, Estimate


def tokens_in(files: Iterable[DataFile]) -> int:
    """The approximate number of tokens in the files, including their markup: too many rather than too few."""
    known = assumptions()
    size = sum(
        file.size * (known.compression_factor if file.detection and file.detection.packed else 1) for file in files
    )
    return int(size / known.bytes_per_token)


def estimate(
    model_id: str, instance_type: str, tokens: int | None, tokens_from: str, epochs: int, price: Price | None
) -> Estimate:
    """Estimates one training. `tokens`: of one epoch, None if unknown; `tokens_from`: how they were counted."""
    known = assumptions()
    speed = known.training_tokens_per_second.get(model_id, {}).get(instance_type)
    start = known.training_start_seconds.get(model_id, 0)
    seconds = None if speed is None else round(start + (tokens or 0) * epochs / speed)
    return Estimate(
        tokens=tokens,
        epochs=epochs,
        tokens_per_second=speed,
        seconds=seconds,
        usd_per_hour=price.usd_per_hour if price else None,
        usd=None if seconds is None or price is None else round(seconds / 3600 * price.usd_per_hour, 2),
        assumptions=[
            f"{tokens:,} tokens per epoch ({tokens_from})"
            if tokens is not None
            else "start-up only, because the size of the data is unknown",
            f"{speed:g} tokens/s on {instance_type} after {start:g} s of start-up (assumed {known.as_of}, not measured)"
            if speed is not None
            else f"unknown throughput of {model_id} on {instance_type}",
            f"{price.usd_per_hour:.2f} USD per hour ({price.source})" if price else f"unknown price of {instance_type}",
        ],
    )
