"""What is known of Bedrock's Custom Model Import, each fact with how it is known: facts.json.

None of it was seen in an account yet. `verified`: read in a document, a model or a program of AWS; `third-party`: read
in a text by others that quotes AWS; `assumed`: neither.
"""

from functools import cache
from importlib.resources import files
from typing import Generic, Literal, TypeVar

from pydantic import ConfigDict

from finetuning.lazy_model import LazyModel

T = TypeVar("T")


class Fact(LazyModel, Generic[T]):
    """A value, how it is known, and where it is from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: T
    known: Literal["verified", "third-party", "assumed"]
    source: str


class Quota(LazyModel):
    """A quota of Bedrock. `default`: what an account has unless it asked for more."""

    model_config = ConfigDict(frozen=True)

    code: str
    name: str
    default: int


class ImportFacts(LazyModel):
    """Limits and prices of imported models. A model of `units` custom model units costs these while a copy of it is
    active, and a month of storage. Prices are those of `price_region`; other regions are assumed to have the same.

    `architectures`: as a model's config.json names its class. `max_context`: in tokens. `units`: by the size in the
    model's name, in billions of parameters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    regions: Fact[tuple[str, ...]]
    architectures: Fact[tuple[str, ...]]
    dtypes: Fact[tuple[str, ...]]
    max_gigabytes: Fact[float]
    max_context: Fact[int]
    quota: Fact[Quota]
    units: Fact[dict[str, int]]
    window_minutes: Fact[int]
    price_region: str
    usd_per_unit_minute: Fact[float]
    usd_per_unit_month: Fact[float]


@cache
def import_facts() -> ImportFacts:
    return ImportFacts.model_validate_json(files(__package__).joinpath("facts.json").read_bytes())
