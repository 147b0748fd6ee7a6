"""What serves the tuned model of a plan, and what it costs: an endpoint by the hour, or an imported model by use."""

from collections.abc import Iterator

from finetuning.bedrock.facts import import_facts
from finetuning.bedrock.prices import ImportPrice
from finetuning.planning.serving_target import break_even_in_words
from finetuning.runs.endpoint_plan import EndpointPlan
from finetuning.settings import NEVER

Row = tuple[str, str, float | None]
"""What serves, what for, USD an hour of it; None if that is unknown."""


def serving_in_words(endpoint: EndpointPlan) -> str:
    """`then 2.03 USD an hour until …`, `then 0.57 USD for each 5 minutes of use …` or `no endpoint`."""
    if not endpoint.deploy:
        return "no endpoint"
    until = endpoint.lifetime.until
    if endpoint.target == "bedrock":
        until = "you delete the model" if endpoint.ttl_hours == NEVER else until
        price = endpoint.import_price.in_words if endpoint.import_price else "an unknown price by use"
        return f"then {price}, until {until}"
    if endpoint.usd_per_hour is None:
        hourly = "an unknown price"
    else:
        hourly = f"{endpoint.usd_per_hour * endpoint.instance_count:,.2f} USD"
    return f"then {hourly} an hour until {until}"


def serving_rows(endpoint: EndpointPlan) -> Iterator[Row]:
    if not endpoint.deploy:
        return
    if endpoint.target == "bedrock":
        price = endpoint.import_price
        yield f"Bedrock, {price.units} units³" if price else "Bedrock³", "import", price.usd_per_hour if price else None
        return
    many = f"{endpoint.instance_count} × " if endpoint.instance_count > 1 else ""
    yield f"{many}{endpoint.instance_type}", "endpoint", endpoint.usd_per_hour
    for other in endpoint.fallbacks:
        yield other.instance_type, "its fallback", other.usd_per_hour


def serving_footnotes(endpoint: EndpointPlan) -> Iterator[str]:
    """What the price of an imported model consists of, how it compares with an endpoint, and how that is known."""
    price = endpoint.import_price
    if not endpoint.deploy or price is None:
        return
    if endpoint.target == "bedrock":
        yield (
            f"³ If the model is in use all the time. Bedrock bills windows of {price.window_minutes} minutes, "
            f"{price.usd_per_window:,.2f} USD each, from the first call on. Without calls it bills only the storage, "
            f"{price.usd_per_month_stored:,.2f} USD a month. A copy in use all month costs "
            f"{price.usd_per_month(24):,.2f} USD; Bedrock starts more copies for more traffic."
        )
    limit = endpoint.break_even_hours_per_day
    if endpoint.target_reason:
        yield f"endpoint.target auto chose {endpoint.target}: {endpoint.target_reason.removesuffix('.')}."
    elif endpoint.target == "sagemaker":
        compared = "" if limit is None else f": {break_even_in_words(limit)}"
        yield (
            f"Imported into Bedrock (endpoint.target, docs/pay-per-use.md) the model would cost {price.in_words}, by "
            f"{import_facts().usd_per_unit_minute.known} prices{compared}."
        )
        return
    elif endpoint.usd_per_month is not None and limit is not None:
        yield (
            f"An endpoint that always serves would cost {endpoint.usd_per_month:,.2f} USD a month on "
            f"{endpoint.in_words}: {break_even_in_words(limit)}."
        )
    yield _how_known(price)


def _how_known(price: ImportPrice) -> str:
    facts = import_facts()
    return (
        f"Not seen in an account yet: Bedrock's prices ({facts.usd_per_unit_minute.known}: {price.source}), its "
        f"regions and limits ({facts.regions.known}), the {price.units} units of this model ({facts.units.known})."
    )
