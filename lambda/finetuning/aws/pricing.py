"""Hourly prices of SageMaker instances, from the Price List API, or from a dated table if it does not answer."""

from collections.abc import Iterator
from typing import Any, Literal

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from finetuning.jumpstart.assumptions import Price, fallback_price

Use = Literal["training", "hosting"]


class PriceList:
    """Prices of one region.

    The attributes in the filter (`regionCode`, `instanceName`, `component`) are those of the published price list. They
    are not yet verified against a live response.
    """

    def __init__(self, pricing: Any, region: str) -> None:
        self._pricing = pricing
        self._region = region
        self._unavailable = False

    def price(self, instance_type: str, use: Use) -> Price | None:
        """The on-demand price per instance-hour; None if neither the API nor the table has one."""
        return self._listed(instance_type, use) or fallback_price(instance_type, use)

    def _listed(self, instance_type: str, use: Use) -> Price | None:
        if self._unavailable:
            return None
        wanted = {"regionCode": self._region, "instanceName": instance_type, "component": use.title()}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        try:
            products = self._pricing.get_products(ServiceCode="AmazonSageMaker", Filters=filters).get("PriceList", [])
        except (BotoCoreError, ClientError):
            # The table is used instead, and its price says so. The next call would wait as long, so none is made.
            self._unavailable = True
            return None
        hourly = [usd for product in products for usd in _hourly_prices(product)]
        return Price(max(hourly), f"Price List API, {self._region}") if hourly else None


def _hourly_prices(product: str) -> Iterator[float]:
    """The positive on-demand prices per hour in one product of the list, in USD."""
    terms = orjson.loads(product).get("terms", {}).get("OnDemand", {})
    for term in terms.values():
        for dimension in term.get("priceDimensions", {}).values():
            usd = float(dimension.get("pricePerUnit", {}).get("USD", 0))
            if usd > 0 and dimension.get("unit", "").lower() in ("hrs", "hours", "hour"):
                yield usd
