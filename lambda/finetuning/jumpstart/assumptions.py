"""Figures that no public document states in machine-readable form, or that need credentials: dated and assumed.

assumptions.json has the throughput of training, start-up times, fallback prices, and the instance families that store
only on their own disks. Every estimate names the figures it uses.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from finetuning.jumpstart.spec import instance_family

PRICE_LIST_REGIONS = ("us-east-1", "eu-central-1", "ap-south-1")
"""Where the Price List API is offered; each answers for every region."""


class Assumptions(BaseModel):
    """Prices in USD per instance-hour, throughput in tokens per second of training, times in seconds.

    `training_tokens_per_second` is by model, then by instance type.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    as_of: str
    prices_as_of: str
    prices_region: str
    training_usd_per_hour: dict[str, float]
    hosting_usd_per_hour: dict[str, float]
    training_tokens_per_second: dict[str, dict[str, float]]
    training_start_seconds: dict[str, float]
    bytes_per_token: float
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
