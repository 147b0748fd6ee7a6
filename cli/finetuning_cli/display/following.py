"""Follow a run in a terminal to its end, and show its result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from finetuning.evaluation.verdict import judged, verdict
from finetuning.operations.run import Run
from finetuning.report import commands
from finetuning.report.messages import LINK_HOURS
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.training_steps import TrainingSteps
from finetuning_cli.display.answers import answers_table
from finetuning_cli.display.charts import loss_curve
from finetuning_cli.display.findings import error_panel
from finetuning_cli.display.runs import cost_line, event_line, metric_line, progress, step_line
from finetuning_cli.display.text import elapsed, plain
from finetuning_cli.stage.runs import status_changes, wait_for_report

View = Callable[[RunStatus, RunPlan | None], None]
"""Called with each change of a run."""


def follow(run: Run, console: Console, poll_seconds: float = 1.0) -> RunStatus:
    """Shows the run until it ends: a live view in a terminal, otherwise one line per event.

    Raises `FineTuningError`: RUN_NOT_STARTED if no run starts, RUN_ABORTED if its execution ends without a final
    status.
    """
    views = _live if console.is_terminal else _log
    with views(console) as show:
        for status in status_changes(run, poll_seconds):
            show(status, run.find_plan() if console.is_terminal else None)
    wait_for_report(status, poll_seconds)
    return status


def show_result(run: Run, status: RunStatus, stage: str, console: Console) -> None:
    """The result of a finished run: answers and the command to ask more, or the error and its fix."""
    if status.state is not RunState.SUCCEEDED:
        console.print(error_panel(status.error or {}))
    evaluation = run.find_evaluation()
    if evaluation:
        console.print(answers_table(evaluation))
        console.print(plain(verdict(evaluation)), soft_wrap=True)
        if evaluation.judgement:
            console.print(plain(judged(evaluation.judgement)), soft_wrap=True)
    if status.metrics and not console.is_terminal:
        console.print(loss_curve(status))
    plan = run.find_plan()
    if plan and plan.accepted:
        console.print(plain(f"Licence accepted by {plan.accepted.in_words}"), soft_wrap=True)
    console.print(plain(f"Duration: {elapsed(status.updated_at - status.started_at)}. {cost_line(status.cost)}"))
    if status.state is RunState.SUCCEEDED and status.endpoint:
        console.print(plain(f"Ask it:  {commands.ask(status.endpoint, stage)}"), soft_wrap=True)
    uri, link = f"s3://{run.store.bucket}/{run.layout.report_page}", run.store.link(run.layout.report_page, LINK_HOURS)
    console.print(Text.assemble("Report:  ", (uri, Style(link=link))), soft_wrap=True)
    console.print(plain(f"Open it: {commands.report(status.run_id, stage)}"), soft_wrap=True)


@contextmanager
def _live(console: Console) -> Iterator[View]:
    """A view that is redrawn in place; its clocks advance between changes."""
    latest: list[tuple[RunStatus, RunPlan | None]] = []
    with Live(
        get_renderable=lambda: (
            progress(latest[-1][0], datetime.now(UTC), latest[-1][1]) if latest else "Waiting for the run to start …"
        ),
        console=console,
        refresh_per_second=4,
    ) as live:
        yield lambda status, plan: latest.append((status, plan))
        live.refresh()


@contextmanager
def _log(console: Console) -> Iterator[View]:
    """A view that prints each event and each metric once, and a step of the training at each tenth of it."""
    seen = {"events": 0, "metrics": 0}
    shown: TrainingSteps | None = None

    def show(status: RunStatus, _: RunPlan | None) -> None:
        nonlocal shown
        for event in status.events[seen["events"] :]:
            console.print(event_line(event), soft_wrap=True)
        for metric in status.metrics[seen["metrics"] :]:
            console.print(metric_line(metric), soft_wrap=True)
        step = status.last_steps
        if step and (shown is None or int(10 * step.share) != int(10 * shown.share)):
            console.print(step_line(step), soft_wrap=True)
            shown = step
        seen.update(events=len(status.events), metrics=len(status.metrics))

    yield show
