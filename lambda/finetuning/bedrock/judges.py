"""Models in Bedrock that can judge answers: how an id is read, and what a call costs. Prices: judges.json."""

import re
from functools import cache
from importlib.resources import files

from pydantic import ConfigDict

from finetuning.bedrock.facts import Fact
from finetuning.lazy_model import LazyModel

_GEOGRAPHY = re.compile(r"^(?:[a-z]{2}(?:-gov)?|apac|global)\.")
"""How the id of AWS's own inference profiles begins. The name of a provider is longer than two letters."""


class TokenPrice(LazyModel):
    """USD for a million tokens that a model reads, and for a million that it writes. `source`: in words."""

    model_config = ConfigDict(frozen=True)

    read: float
    written: float
    source: str = ""

    def usd(self, read: float, written: float) -> float:
        """Of so many tokens."""
        return (read * self.read + written * self.written) / 1_000_000


class _Facts(LazyModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    price_region: str
    usd_per_million_tokens: Fact[dict[str, TokenPrice]]


def is_profile(judge: str) -> bool:
    """True for the id of an inference profile, which may answer from any of its regions."""
    return bool(_GEOGRAPHY.match(judge))


def foundation_model(judge: str) -> str:
    """The id of the model that answers: `us.amazon.nova-pro-v1:0` → `amazon.nova-pro-v1:0`."""
    return _GEOGRAPHY.sub("", judge)


def token_price(judge: str, region: str) -> TokenPrice | None:
    """None if it is not known. In other regions than `price_region` it is assumed to be the same."""
    facts = _facts()
    price = facts.usd_per_million_tokens.value.get(judge)
    if price is None:
        return None
    where = facts.price_region if region == facts.price_region else f"{facts.price_region}, assumed for {region}"
    return price.model_copy(update={"source": f"{facts.usd_per_million_tokens.source}, for {where}"})


@cache
def _facts() -> _Facts:
    return _Facts.model_validate_json(files(__package__).joinpath("judges.json").read_bytes())
