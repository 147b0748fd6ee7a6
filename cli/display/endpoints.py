"""A stage's endpoints in a terminal."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from cli.display.text import WIDE_ENOUGH, elapsed, list_table
from cli.stage.endpoints import EndpointSummary


def endpoints_table(endpoints: Sequence[EndpointSummary], now: datetime, width: int) -> RenderableType:
    """One row an endpoint, or some lines in a narrow terminal; below, what all of them cost. Names are there to be
    copied.
    """
    hourly, so_far = _total(e.usd_per_hour for e in endpoints), _total(e.usd_so_far for e in endpoints)
    total = f"All of them: {_usd(hourly)} an hour, about {_usd(so_far)} so far, at list prices"
    if width < WIDE_ENOUGH:
        return Group(*(_endpoint_in_lines(each, now) for each in endpoints), total)
    table = list_table("endpoint", "up for", "calls", "goes", "cost")
    for each in endpoints:
        kind = each.instance_type or "an instance not known"
        serving = f"\n{each.status} on {each.instances} × {kind}"
        table.add_row(
            Text.assemble(each.name, (serving, "dim")),
            elapsed(now - each.created_at),
            f"{each.calls_last_hour:,} last hour\n{each.calls_last_day:,} last day",
            _end(each, now),
            f"{_usd(each.usd_per_hour)}/h\n{_usd(each.usd_so_far)} so far",
        )
    table.caption = total
    return table


def _endpoint_in_lines(each: EndpointSummary, now: datetime) -> Text:
    serving = f"{each.status} on {each.instances} × {each.instance_type or 'an instance not known'}"
    calls = f"{each.calls_last_hour:,} calls last hour, {each.calls_last_day:,} last day"
    cost = f"{_usd(each.usd_per_hour)}/h, {_usd(each.usd_so_far)} so far"
    lines = [f"{serving} · up for {elapsed(now - each.created_at)}", calls, cost, f"goes {_end(each, now)}"]
    facts = "".join(f"\n  {' '.join(line.split())}" for line in lines)
    return Text.assemble((each.name, "bold"), facts)


def _end(endpoint: EndpointSummary, now: datetime) -> str:
    if endpoint.goes_at is None:
        told = endpoint.ttl_hours is not None and endpoint.idle_minutes is not None
        return "never by itself" if told else "as the stage says"
    left = endpoint.goes_at - now
    when = f"in {elapsed(left)}" if left > timedelta() else "at the next sweep"
    return f"{when}:\n{endpoint.goes_because}"


def _usd(amount: float | None) -> str:
    return "not known" if amount is None else f"{amount:,.2f} USD"


def _total(amounts: Iterable[float | None]) -> float | None:
    """None where one of them is not known: a sum without it would say too little."""
    known = list(amounts)
    return None if None in known else sum(filter(None, known))
