"""What a training will take, before anything is known for certain: tokens × epochs ÷ tokens/s, and its price."""

from collections.abc import Iterable

from finetuning.jumpstart.assumptions import Price, assumptions
from finetuning.runs.plan import DataFile, Estimate


def tokens_in(files: Iterable[DataFile]) -> int:
    """About how many tokens the files hold, markup included: rather too many than too few."""
    known = assumptions()
    size = sum(
        file.size * (known.compression_factor if file.detection and file.detection.packed else 1) for file in files
    )
    return int(size / known.bytes_per_token)


def estimate(
    model_id: str, instance_type: str, tokens: int | None, tokens_from: str, epochs: int, price: Price | None
) -> Estimate:
    """Predicts one training. `tokens` of one epoch, or None where the data is not known; `tokens_from` says whence."""
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
            f"{tokens:,} tokens an epoch: {tokens_from}"
            if tokens is not None
            else "start-up alone, for the data's size is not known yet",
            f"{speed:g} tokens/s on {instance_type} after {start:g} s of start-up (assumed {known.as_of}, not measured)"
            if speed is not None
            else f"no throughput of {model_id} on {instance_type} is known",
            f"{price.usd_per_hour:.2f} USD an hour ({price.source})"
            if price
            else f"no price of {instance_type} is known",
        ],
    )
