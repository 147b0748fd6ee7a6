"""What an imported model costs, held against AWS's published example."""

import pytest

from finetuning.bedrock.prices import ImportPrice, import_price
from finetuning.jumpstart.catalogue import support
from tests.builders.jumpstart import LLAMA

PUBLISHED = ImportPrice(units=2, usd_per_unit_minute=0.0785, usd_per_unit_month=1.95)
"""The example of AWS's pricing page: a copy of two units costs 0.785 USD for each window of five minutes."""


def test_the_published_example_is_met_to_the_cent() -> None:
    assert PUBLISHED.usd_per_window == pytest.approx(0.785, abs=1e-9)
    assert PUBLISHED.usd_per_hour == pytest.approx(12 * 0.785)
    assert PUBLISHED.usd_per_month_stored == pytest.approx(3.90)


@pytest.mark.parametrize(
    ("size", "units", "window", "hour", "stored", "most"),
    [("8b", 2, 0.57, 6.86, 3.90, 5012.87), ("70b", 8, 2.29, 27.45, 15.60, 20051.47)],
)
def test_a_model_costs_by_its_units(
    size: str, units: int, window: float, hour: float, stored: float, most: float
) -> None:
    price = import_price(support(LLAMA + size), "us-east-1")
    assert price
    figures = (price.usd_per_window, price.usd_per_hour, price.usd_per_month_stored, price.usd_per_month(24))
    assert (price.units, *(round(figure, 2) for figure in figures)) == (units, window, hour, stored, most)
    assert price.in_words == f"{window:.2f} USD for each 5 minutes of use, {stored:.2f} USD a month stored"


def test_the_break_even_is_where_both_cost_the_same_in_a_month() -> None:
    price = import_price(support(LLAMA + "8b"), "us-east-1")
    assert price
    hours = price.break_even(2.03)
    assert hours == pytest.approx(7.08, abs=0.005)
    assert price.usd_per_month(hours) == pytest.approx(2.03 * 730)


@pytest.mark.parametrize(("usd_per_hour", "hours"), [(0.005, 0), (0, 0), (10, 24)])
def test_an_endpoint_can_be_cheaper_or_dearer_at_any_use(usd_per_hour: float, hours: float) -> None:
    price = import_price(support(LLAMA + "8b"), "us-east-1")
    assert price
    assert price.break_even(usd_per_hour) == hours


def test_the_price_says_where_its_figures_are_from() -> None:
    here, elsewhere = (import_price(support(LLAMA + "8b"), region) for region in ("us-east-1", "eu-central-1"))
    assert here
    assert elsewhere
    assert here.source == "texts that quote AWS's pricing page in July 2026, for us-east-1"
    assert elsewhere.source == here.source + ", assumed for eu-central-1"


def test_a_model_whose_units_are_unknown_has_no_price() -> None:
    assert import_price(support(LLAMA + "405b-fp8"), "us-east-1") is None
