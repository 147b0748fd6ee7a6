"""Runs in a terminal: the progress of one, and the list of all."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Cost, Event, Metric, RunState, RunStatus
from finetuning.runs.timeline import steps
from finetuning.runs.training_steps import TrainingSteps
from finetuning_cli.display.charts import loss_curve
from finetuning_cli.display.text import WIDE_ENOUGH, elapsed, list_table, plain, short
from finetuning_cli.stage.approvals import APPROVAL_STEP

STATE_STYLES = {
    RunState.RUNNING: "cyan",
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.ABORTED: "yellow",
}


def progress(status: RunStatus, now: datetime, plan: RunPlan | None = None) -> RenderableType:
    """The run so far: a line per step with its duration and last message, the losses and the cost. While a job trains,
    also how long it is expected to take (if `plan` is given).
    """
    table = Table.grid(padding=(0, 2))
    spans = steps(status, now)
    for number, span in enumerate(spans, start=1):
        table.add_row(
            _mark(status, is_last=number == len(spans)),
            Text(span.title, style="bold", no_wrap=True),
            Text(elapsed(span.duration), style="dim", justify="right", no_wrap=True),
            short(span.events[-1].message),
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
    """The training cost, billed or predicted; empty if neither is known."""
    return f"Training: {_cost(cost)}" if _cost(cost) else ""


def _expected(status: RunStatus, plan: RunPlan, now: datetime) -> str:
    """How long the current training is expected to take, and its cost so far; empty while no job trains."""
    rung = status.ladder[-1] if status.ladder else None
    if rung is None or rung.outcome != "running":
        return ""
    taken = now - rung.time
    option = next(each for each in plan.training.options if each.instance_type == rung.instance_type)
    parts = []
    if option.estimate.seconds is not None:
        whole = timedelta(seconds=option.estimate.seconds)
        rest = f"about {elapsed(whole - taken)} left" if whole > taken else "longer than predicted"
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
    """An event as a log line, readable without colours."""
    return _log_line(event.time, event.step, event.message)


def metric_line(metric: Metric) -> Text:
    return _log_line(metric.time, "metric", f"{metric.name.rpartition(':')[2]} = {metric.value:g}")


def step_line(step: TrainingSteps) -> Text:
    return _log_line(step.time, "progress", f"{step} ({100 * step.share:.0f} %)")


def _log_line(time: datetime, name: str, text: str) -> Text:
    """The time ends in Z: it is in UTC."""
    return Text.assemble((f"{time:%H:%M:%SZ} ", "dim"), (f"{name:<17} ", "bold"), plain(text))


def runs_table(statuses: Sequence[RunStatus], now: datetime, width: int) -> RenderableType:
    """A row per run, or two lines per run in a narrow terminal."""
    if width < WIDE_ENOUGH:
        return Group(*(_run_in_two_lines(status, now) for status in statuses))
    table = list_table("run", "state", "verdict", "loss", "started (UTC)", "duration", "training cost")
    for status in statuses:
        version = _version(status.model_package)
        table.add_row(
            Text.assemble(status.run_id, (f"\n{version}" if version else "", "dim")),
            _state_at_step(status),
            status.verdict or "",
            _loss(status),
            f"{status.started_at:%d %b %H:%M}",
            elapsed((status.updated_at if status.state.is_final else now) - status.started_at),
            _cost(status.cost),
        )
    return table


def _run_in_two_lines(status: RunStatus, now: datetime) -> Text:
    took = elapsed((status.updated_at if status.state.is_final else now) - status.started_at)
    started = f"{status.started_at:%d %b %H:%M} UTC"
    loss = f"loss {_loss(status)}" if _loss(status) else ""
    facts = [status.verdict or "", loss, started, took, _cost(status.cost), _version(status.model_package)]
    return Text.assemble((status.run_id, "bold"), "  ", _state_at_step(status), "\n  ", " · ".join(filter(None, facts)))


def _state_at_step(status: RunStatus) -> Text:
    state, style = _state(status)
    if status.state is RunState.RUNNING and status.step == APPROVAL_STEP:
        return Text("waits for approval", style="bold yellow")
    return Text.assemble((state, style), "" if status.state is RunState.SUCCEEDED else f" at {status.step}")


def _loss(status: RunStatus) -> str:
    """The first and the last loss: of the held-out rows, if the training reports it."""
    return status.losses[-1].in_words.rpartition("loss ")[2] if status.losses else ""


def _version(model_package: str) -> str:
    """`version 3 of finetune-dev-faq` for an ARN that ends in `/finetune-dev-faq/3`."""
    group, _, version = model_package.partition("/")[2].rpartition("/")
    return f"version {version} of {group}" if version else ""


def _cost(cost: Cost) -> str:
    if cost.actual_usd is not None:
        return f"{cost.actual_usd:.2f} USD billed"
    return f"about {cost.estimate_usd:.2f} USD predicted" if cost.estimate_usd is not None else ""
