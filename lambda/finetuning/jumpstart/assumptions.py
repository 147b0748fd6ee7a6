"""Figures that no public document states in machine-readable form, or that need credentials: dated and assumed.

assumptions.json has what the throughput of training and answering is computed from, start-up times, fallback prices,
and the instance families that store only on their own disks. Every estimate names the figures it uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import ConfigDict

from finetuning.jumpstart.spec import instance_family
from finetuning.lazy_model import LazyModel

PRICE_LIST_REGIONS = ("us-east-1", "eu-central-1", "ap-south-1")
"""Where the Price List API is offered; each answers for every region."""


def price_list_region(region: str) -> str:
    """Where the prices of that region are asked for."""
    return region if region in PRICE_LIST_REGIONS else PRICE_LIST_REGIONS[0]


class Card(LazyModel):
    """The GPU of an instance family: dense TFLOP/s in 16 bits, bandwidth of its memory (by NVIDIA's data sheets), and
    the GPUs of the sizes that have more than one.
    """

    model_config = ConfigDict(frozen=True)

    tflops: float
    gigabytes_per_second: float
    gpus: dict[str, int]


class Assumptions(LazyModel):
    """Prices in USD per instance-hour, times in seconds.

    `share_of_peak`: what part of a GPU's peak a training reached, by the model's size in billions of parameters.
    Measured with current libraries and bf16 weights, so an upper bound: plans use `share_of_peak_planned_with` of it.
    `endpoint_start_seconds`: from CreateEndpoint to InService, by the model's size. That of 8 billion parameters is
    from AWS's notebooks; the larger models are assumed to take as long as the start-up of their trainings.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    as_of: str
    prices_as_of: str
    prices_region: str
    training_usd_per_hour: dict[str, float]
    hosting_usd_per_hour: dict[str, float]
    share_of_peak: dict[int, float]
    share_of_peak_planned_with: float
    cards: dict[str, Card]
    """By instance family."""
    share_of_bandwidth_planned_with: float
    endpoint_start_seconds: dict[int, float]
    training_start_seconds: dict[str, float]
    compression_factor: float
    """How many times larger a compressed or Parquet file is when it is read."""
    local_storage_families: frozenset[str]


@dataclass(frozen=True)
class Price:
    """USD per instance-hour, and the source of the figure, for the text of an estimate."""

    usd_per_hour: float
    source: str


@cache
def assumptions() -> Assumptions:
    return Assumptions.model_validate_json(files(__package__).joinpath("assumptions.json").read_bytes())


def gpus_of(instance_type: str) -> int | None:
    """The number of GPUs of an instance; None for a family that is not in the table."""
    card = assumptions().cards.get(instance_family(instance_type))
    return card.gpus.get(instance_type.rpartition(".")[2], 1) if card else None


def upper_bound(parameters: float, instance_type: str, *, sharded: bool) -> float | None:
    """Tokens per second of a training with LoRA, at most: share of peak × GPUs at work × peak ÷ FLOP of a token. None
    for a family that is not in the table.

    `parameters`: of the model, in billions. A token takes 6 FLOP for each: forward, recomputation, and backward for the
    activations. A model that is not `sharded` lies on the GPUs as a pipeline, in which one works at a time.
    """
    known, gpus = assumptions(), gpus_of(instance_type)
    if gpus is None:
        return None
    share = _by_size(known.share_of_peak, parameters)
    tflops = known.cards[instance_family(instance_type)].tflops * (gpus if sharded else 1)
    return share * tflops * 1e12 / (6 * parameters * 1e9)


def answer_speed(gigabytes: float, instance_type: str) -> float | None:
    """Tokens per second of one answer, as planned with. None for a family that is not in the table.

    Each token reads all `gigabytes` of the model's weights once, from the memory of all GPUs together, whether one
    answer is written or ten. Plans use a share of that bandwidth.
    """
    known, gpus = assumptions(), gpus_of(instance_type)
    if gpus is None:
        return None
    bandwidth = known.cards[instance_family(instance_type)].gigabytes_per_second * gpus
    return known.share_of_bandwidth_planned_with * bandwidth / gigabytes


def endpoint_start(parameters: float) -> float:
    """Seconds from CreateEndpoint to InService for a model of so many billions of parameters."""
    return _by_size(assumptions().endpoint_start_seconds, parameters)


def _by_size(table: Mapping[int, float], parameters: float) -> float:
    """The entry of the largest size that is not above the model's, or the smallest one."""
    return table[max((size for size in table if size <= parameters), default=min(table))]


def has_only_local_storage(instance_type: str) -> bool:
    """True if the type stores only on its own NVMe disks: SageMaker then rejects a volume key and ignores a size."""
    return instance_family(instance_type) in assumptions().local_storage_families


def fallback_price(instance_type: str, use: Literal["training", "hosting"]) -> Price | None:
    """The assumed price, None for a type that is not in the table."""
    known = assumptions()
    table = known.training_usd_per_hour if use == "training" else known.hosting_usd_per_hour
    if instance_type not in table:
        return None
    return Price(table[instance_type], f"assumed: table of {known.prices_as_of} for {known.prices_region}")
