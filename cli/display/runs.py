"""How runs look in a terminal. Whatever came from data or a model is shown as plain text, never as markup."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from cli.stage.endpoints import EndpointSummary
from finetuning.evaluation.loss_curve import loss_curve as loss_series
from finetuning.evaluation.results import Answer, EvaluationReport, Scores
from finetuning.report.text import shortened, visible
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Cost, Event, Metric, RunState, RunStatus
from finetuning.runs.timeline import steps

MAX_SHOWN = 700
"""Characters of a message shown in a table."""

WIDE_ENOUGH = 100
"""Columns of a terminal from which a run or an endpoint is a row of a table."""

MAX_ANSWER = 300
"""Characters of a prompt or answer: enough to hear its style; the report page has the whole text."""

BARS = "▁▂▃▄▅▆▇█"
STATE_STYLES = {
    RunState.RUNNING: "cyan",
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.ABORTED: "yellow",
}


def plain(text: str, style: str = "") -> Text:
    """Text as it is: no markup, and no control characters, which could drive the terminal or reverse the line."""
    return Text(visible(text), style=style)


def short(text: str, most: int = MAX_SHOWN) -> Text:
    return plain(shortened(text, most))


def elapsed(duration: timedelta) -> str:
    """`0:42`, `12:03` or `1:02:03`."""
    minutes, seconds = divmod(max(0, int(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def progress(status: RunStatus, now: datetime, plan: RunPlan | None = None) -> RenderableType:
    """The run as far as it has come: a line per step with how long it took and the last it said, the losses, the
    money; of a training that goes on also how long it is expected to."""
    table = Table.grid(padding=(0, 2))
    stretches = steps(status, now)
    for number, stretch in enumerate(stretches, start=1):
        table.add_row(
            _mark(status, is_last=number == len(stretches)),
            Text(stretch.title, style="bold", no_wrap=True),
            Text(elapsed(stretch.duration), style="dim", justify="right", no_wrap=True),
            short(stretch.events[-1].message),
        )
    headline = Text.assemble((status.run_id, "bold"), "  ", _state(status), "  ")
    headline.append(elapsed((status.updated_at if status.state.is_final else now) - status.started_at), style="dim")
    parts: list[RenderableType] = [headline, table]
    if status.metrics:
        parts.append(loss_curve(status))
    expected = _expected(status, plan, now) if plan and not status.state.is_final else ""
    parts += [plain(line, "dim") for line in (status.progress, expected, cost_line(status.cost)) if line]
    return Group(*parts)


def cost_line(cost: Cost) -> str:
    """Of the training, billed or predicted; empty where neither is known."""
    return f"Training: {_cost(cost)}" if _cost(cost) else ""


def _expected(status: RunStatus, plan: RunPlan, now: datetime) -> str:
    """How long the training that goes on is expected to, and its price so far; empty while none does."""
    rung = status.ladder[-1] if status.ladder else None
    if rung is None or rung.outcome != "running":
        return ""
    taken = now - rung.time
    option = next(each for each in plan.training.options if each.instance_type == rung.instance_type)
    parts = []
    if option.estimate.seconds is not None:
        whole = timedelta(seconds=option.estimate.seconds)
        rest = f"about {elapsed(whole - taken)} to go" if whole > taken else "longer than predicted"
        parts.append(f"Training for {elapsed(taken)} of about {elapsed(whole)}, {rest}")
    if option.estimate.usd_per_hour is not None:
        parts.append(f"at most {taken.total_seconds() / 3600 * option.estimate.usd_per_hour:.2f} USD so far")
    return "; ".join(parts)


def _mark(status: RunStatus, is_last: bool) -> RenderableType:
    if not is_last or status.state is RunState.SUCCEEDED:
        return Text("✓", style="green")
    if status.state is RunState.RUNNING:
        return Spinner("dots", style="cyan")
    return Text("✗", style="red")


def _state(status: RunStatus) -> tuple[str, str]:
    return str(status.state), STATE_STYLES[status.state]


def event_line(event: Event) -> Text:
    """An event for a log: no colours are needed to read it."""
    return Text.assemble((f"{event.time:%H:%M:%S} ", "dim"), (f"{event.step:<17} ", "bold"), plain(event.message))


def metric_line(metric: Metric) -> Text:
    name = metric.name.rpartition(":")[2]
    time = f"{metric.time:%H:%M:%S} "
    return Text.assemble((time, "dim"), (f"{'metric':<17} ", "bold"), f"{name} = {metric.value:g}")


def loss_curve(status: RunStatus) -> RenderableType:
    """The losses as bars, one per value, with the first and the last: `training loss  ▇▃▁  4.05 → 0.73`."""
    table = Table.grid(padding=(0, 2))
    for series in loss_series(status.metrics):
        table.add_row(series.title, Text(bars(series.values), style="cyan"), series.change)
    return table


def bars(values: Sequence[float]) -> str:
    """One block per value, as high as the value between zero and the largest."""
    top = max(values)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] if top > 0 else BARS[0] for value in values)


def answers_table(evaluation: EvaluationReport) -> Table:
    """What the base model, the tuned one and the data say to each prompt, and the mean scores below."""
    has_base = evaluation.has_base
    summary = evaluation.summary
    title = "Answers to prompts the model was not trained on"
    table = Table(title=title, show_lines=True, show_footer=True, expand=True)
    prompts = f"{summary.scored} prompt{'s' if summary.scored > 1 else ''}"
    mean = f"mean of {prompts} with a reference" if summary.scored else ""
    table.add_column("prompt", ratio=2, overflow="fold", footer=mean)
    if has_base:
        table.add_column("base", ratio=3, overflow="fold", footer=_scores(summary.base))
    table.add_column("tuned", ratio=3, overflow="fold", footer=_scores(summary.tuned))
    table.add_column("truth", ratio=3, overflow="fold")
    for row in evaluation.rows:
        answers = [_answer(row.base)] if has_base else []
        prompt, reference = short(row.prompt, MAX_ANSWER), short(row.reference or "—", MAX_ANSWER)
        table.add_row(prompt, *answers, _answer(row.tuned), reference)
    return table


def _answer(answer: Answer | None) -> Text:
    if answer is None:
        return Text("—")
    shown = short(answer.text, MAX_ANSWER)
    if answer.problem:
        shown = Text.assemble((f"[{answer.problem}] ", "bold red"), shown)
    cut_off = "cut off" if answer.finished is False else ""
    facts = [f"{answer.words} words", f"{answer.latency_ms / 1000:.1f} s", cut_off, _scores(answer.scores)]
    return Text.assemble(shown, ("\n" + " · ".join(filter(None, facts)), "dim"))


def _scores(scores: Scores | None) -> str:
    return f"ROUGE-L {scores.rouge_l:.2f} · exact {scores.exact_match:.0%}" if scores else ""


def error_panel(error: Mapping[str, object]) -> Panel:
    """What went wrong and what to do (`{code, message, fix}`), with every finding where the preflight made several."""
    return Panel(Text("\n").join(_error_lines(error)), title=plain(str(error.get("code", ""))), border_style="red")


def _error_lines(error: Mapping[str, object]) -> Iterator[Text]:
    findings = error.get("findings")
    if isinstance(findings, list) and findings:
        for finding in findings:
            where = f"{finding['field']}: " if finding.get("field") else ""
            yield Text.assemble(("✗ ", "red"), plain(where, "bold"), plain(str(finding["message"])))
            yield Text.assemble(("  → ", "green"), plain(str(finding["fix"])))
        return
    yield plain(str(error.get("message", "The run left no explanation.")))
    if error.get("fix"):
        yield Text.assemble(("→ ", "green"), plain(str(error["fix"])))
    log = error.get("log")
    if isinstance(log, list):
        yield from (plain(f"  │ {line}", "dim") for line in log)


def _table(name: str, *titles: str) -> Table:
    """The first column holds names, which are there to be copied: the others break first."""
    others = (Column(title, overflow="fold") for title in titles)
    return Table(Column(name, no_wrap=True, overflow="fold"), *others, box=box.SIMPLE_HEAD, padding=(0, 1))


def runs_table(statuses: Sequence[RunStatus], now: datetime, width: int) -> RenderableType:
    """A row a run, or two lines where the terminal is too narrow for a row."""
    if width < WIDE_ENOUGH:
        return Group(*(_run_in_two_lines(status, now) for status in statuses))
    table = _table("run", "state", "began (UTC)", "took", "training cost", "registered as")
    for status in statuses:
        state, style = _state(status)
        at_step = "" if status.state is RunState.SUCCEEDED else f" at {status.step}"
        table.add_row(
            status.run_id,
            Text.assemble((state, style), at_step),
            f"{status.started_at:%d %b %H:%M}",
            elapsed((status.updated_at if status.state.is_final else now) - status.started_at),
            _cost(status.cost),
            _version(status.model_package),
        )
    return table


def _run_in_two_lines(status: RunStatus, now: datetime) -> Text:
    state, style = _state(status)
    at_step = "" if status.state is RunState.SUCCEEDED else f" at {status.step}"
    took = elapsed((status.updated_at if status.state.is_final else now) - status.started_at)
    facts = [f"{status.started_at:%d %b %H:%M} UTC", took, _cost(status.cost), _version(status.model_package)]
    return Text.assemble(
        (status.run_id, "bold"), "  ", (state, style), at_step, "\n  ", " · ".join(filter(None, facts))
    )


def _version(model_package: str) -> str:
    """`version 3 of finetune-dev-faq` of an ARN that ends in `/finetune-dev-faq/3`."""
    group, _, version = model_package.partition("/")[2].rpartition("/")
    return f"version {version} of {group}" if version else ""


def _cost(cost: Cost) -> str:
    if cost.actual_usd is not None:
        return f"{cost.actual_usd:.2f} USD billed"
    return f"about {cost.estimate_usd:.2f} USD predicted" if cost.estimate_usd is not None else ""


def endpoints_table(endpoints: Sequence[EndpointSummary], now: datetime, width: int) -> RenderableType:
    """One row an endpoint, or some lines in a narrow terminal; below, what all of them cost. Names are there to be
    copied.
    """
    hourly, so_far = _total(e.usd_per_hour for e in endpoints), _total(e.usd_so_far for e in endpoints)
    total = f"All of them: {_usd(hourly)} an hour, about {_usd(so_far)} so far, at list prices"
    if width < WIDE_ENOUGH:
        return Group(*(_endpoint_in_lines(each, now) for each in endpoints), total)
    table = _table("endpoint", "up for", "calls", "goes", "cost")
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
