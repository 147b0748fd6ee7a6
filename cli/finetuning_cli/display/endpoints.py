"""A stage's endpoints in a terminal."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from finetuning_cli.display.text import WIDE_ENOUGH, elapsed, list_table, rounded
from finetuning_cli.stage.endpoints import EndpointSummary


def endpoints_table(endpoints: Sequence[EndpointSummary], now: datetime, width: int) -> RenderableType:
    """A row per endpoint, or some lines per endpoint in a narrow terminal; then the total cost."""
    hourly, so_far = _total(e.usd_per_hour for e in endpoints), _total(e.usd_so_far for e in endpoints)
    total = f"Total: {_usd(hourly)} per hour, about {_usd(so_far)} so far, at list prices"
    if width < WIDE_ENOUGH:
        return Group(*(_endpoint_in_lines(each, now) for each in endpoints), total)
    table = list_table("endpoint", "age", "invocations", "expires", "cost")
    for each in endpoints:
        table.add_row(
            Text.assemble(each.name, (f"\n{_serving(each)}", "dim")),
            elapsed(now - each.created_at),
            _invocations(each, "\n"),
            "\n".join(_expiry(each, now)),
            _cost(each, "\n"),
        )
    table.caption = total
    return table


def _endpoint_in_lines(each: EndpointSummary, now: datetime) -> Text:
    invocations, cost = _invocations(each, ", ", "invocations "), _cost(each, ", ")
    when, *why = _expiry(each, now)
    expiry = f"expires {when}" + "".join(f" ({reason})" for reason in why)
    lines = [
        f"{_serving(each).replace(chr(10), ', ')} · age {elapsed(now - each.created_at)}",
        invocations,
        cost,
        expiry,
    ]
    return Text.assemble((each.name, "bold"), *(f"\n  {line}" for line in lines))


def _serving(each: EndpointSummary) -> str:
    if each.target == "bedrock":
        return f"{each.status} in Bedrock\nserves {each.run_id}"
    return f"{each.status} on {each.instances} × {each.instance_type or 'unknown instance type'}\nserves {each.run_id}"


def _invocations(each: EndpointSummary, between: str, named: str = "") -> str:
    if each.invocations_last_hour is None or each.invocations_last_day is None:
        return f"{named}not counted"
    return f"{each.invocations_last_hour:,} {named}last hour{between}{each.invocations_last_day:,} last day"


def _cost(each: EndpointSummary, between: str) -> str:
    if each.target == "bedrock":
        return f"{each.usd_by_use}{between}{_usd(each.usd_so_far)} for storage so far"
    return f"{_usd(each.usd_per_hour)}/h{between}{_usd(each.usd_so_far)} so far"


def _expiry(endpoint: EndpointSummary, now: datetime) -> list[str]:
    """When the endpoint expires and, on a line of its own, why."""
    if endpoint.expires_at is None:
        known = endpoint.ttl_hours is not None and endpoint.idle_minutes is not None
        return ["never" if known else "by the stage's limits"]
    left = endpoint.expires_at - now
    when = f"in {rounded(left)}" if left > timedelta() else "at the next sweep"
    return [f"{when} unless used" if endpoint.unless_used else when, endpoint.expiry_reason]


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f} USD"


def _total(amounts: Iterable[float | None]) -> float | None:
    """None if one of them is unknown: a sum without it would be too low."""
    known = list(amounts)
    return None if None in known else sum(filter(None, known))
