"""Prices, from answers of the form the Price List API documents."""

import json
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from finetuning.aws.pricing import PriceList

REGION = "eu-west-1"
G5 = "ml.g5.12xlarge"
AS_NOBODY = {"region_name": REGION, "aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}


def product(usd: str, unit: str = "Hrs") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return json.dumps({"product": {}, "terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}}})


def any_price_list(products: list[str] | None) -> PriceList:
    """A price list that answers with these products; None: that refuses."""
    pricing: Any = boto3.client("pricing", **AS_NOBODY)
    stubbed = Stubber(pricing)
    if products is None:
        stubbed.add_client_error("get_products", "AccessDeniedException")
    else:
        stubbed.add_response(
            "get_products", {"PriceList": products}, {"ServiceCode": "AmazonSageMaker", "Filters": ANY}
        )
    stubbed.activate()
    return PriceList(pricing, REGION)


def test_the_listed_price_wins_and_says_where_it_is_from() -> None:
    price = any_price_list([product("7.911"), product("0.0"), product("3", "GB")]).price(G5, "training")
    assert price is not None
    assert (price.usd_per_hour, price.source) == (7.911, "Price List API, eu-west-1")


@pytest.mark.parametrize("products", [None, []])
def test_without_a_listed_price_the_dated_table_answers_and_says_so(products: list[str] | None) -> None:
    price = any_price_list(products).price(G5, "training")
    assert price is not None
    assert price.usd_per_hour == 7.09
    assert "assumed: table of " in price.source


def test_a_list_that_was_silent_once_is_not_asked_again() -> None:
    prices = any_price_list(None)
    assert prices.price(G5, "training")
    assert prices.price("ml.g5.48xlarge", "hosting")
    assert prices.price("ml.unknown.xlarge", "training") is None
