"""`finetune submit`, `watch` and `runs`: a deployed stage's runs from the terminal."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.style import Style
from rich.text import Text

from cli.commands.data import dataset_report, left_out_notes, shown
from cli.display.runs import (
    answers_table,
    cost_line,
    elapsed,
    error_panel,
    event_line,
    loss_curve,
    metric_line,
    plain,
    progress,
    runs_table,
)
from cli.options import AsJson, Stage, now, print_json
from cli.stage.deployment import Deployment
from cli.stage.runs import find_run, list_runs, status_changes, wait_for_report
from cli.stage.uploads import Advance, files_to_submit, resubmit, submit_file, submit_folder
from finetuning.aws.upload_bucket import RUN_FILE, TEMPLATE_FILE, is_data
from finetuning.errors import DatasetRefused, RunRefused
from finetuning.evaluation.verdict import verdict
from finetuning.report import commands
from finetuning.report.messages import LINK_HOURS
from finetuning.runs.layout import RunLayout
from finetuning.runs.plan import RunPlan
from finetuning.runs.run_json import RunRequest, read_request
from finetuning.runs.status import RunState, RunStatus

View = Callable[[RunStatus, RunPlan | None], None]
"""Told of each change of a run."""

RUN_ID = re.compile(r"[a-z0-9-]+-[0-9a-f]{8}")


def submit(
    path: Annotated[
        Path | None, typer.Argument(exists=True, help="A data file, or a folder with data and a run.json.")
    ] = None,
    stage: Stage = "dev",
    again: Annotated[str, typer.Option(help="Instead of a path: a run, whose upload is to start another.")] = "",
    name: Annotated[str, typer.Option(help="The run's name; default: the folder's or file's.")] = "",
    check: Annotated[bool, typer.Option(help="Check the data here before anything is uploaded.")] = True,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload data, which starts a run.

    The data is checked here first, by the code that the workflow uses;
    what it would refuse is not uploaded. Of a folder the data files and
    template.json go up, and run.json last: its arrival starts the run.
    A single file runs with the defaults of the stage.

    \b
    Examples:
      finetune submit examples/chat --watch
      finetune submit faq.jsonl
      finetune submit data --name support-v2 --stage prod
      finetune submit --again pirate-0a1b2c3d
    """
    if "/" in name:
        raise typer.BadParameter("A run's name is one word of its upload's key, without a slash.", param_hint="--name")
    if (path is None) == (not again):
        raise typer.BadParameter("Name a path, or a run with --again.")
    console = Console(stderr=as_json)
    deployment = Deployment.find(stage)
    if path is None:
        run_id = resubmit(deployment, find_run(deployment, again)).run_id
        console.print(plain(f"Uploaded once more what started {again}; this starts the run {run_id}"))
    else:
        run_id = start_run(deployment, path, console, name=name, check=check)
    if watch:
        _watch(deployment, run_id, console, as_json)
    elif as_json:
        print_json({"run_id": run_id})
    else:
        console.print(plain(f"Follow it with: {commands.watch(run_id, stage)}"), soft_wrap=True)


def watch(
    run: Annotated[str, typer.Argument(help="A run's id, or an upload's name for its latest run.")],
    stage: Stage = "dev",
    as_json: AsJson = False,
) -> None:
    """Follow a run to its end: a live view in a terminal, else a line for each thing that happens.

    Ctrl-C ends the watching, not the run. As many people as like may watch, from the beginning or later.

    \b
    Examples:
      finetune watch pirate                     the latest run of that name
      finetune watch pirate-0a1b2c3d --json     wait for its end, then print status and answers

    Exit code: 0 where the run succeeded, 1 where it did not, 130 after Ctrl-C.
    """
    deployment = Deployment.find(stage)
    run_id = run if RUN_ID.fullmatch(run) else find_run(deployment, run)  # an id may be watched before its run begins
    _watch(deployment, run_id, Console(stderr=as_json), as_json)


def runs(stage: Stage = "dev", as_json: AsJson = False) -> None:
    """List the runs, the latest first.

    \b
    Examples:
      finetune runs
      finetune runs --json | jq -r '.[] | select(.state == "failed") | .run_id'
    """
    found = list_runs(Deployment.find(stage))
    if as_json:
        print_json([status.model_dump(mode="json", exclude={"events", "metrics"}) for status in found])
    elif found:
        console = Console()
        console.print(runs_table(found, now(), console.width))
    else:
        Console().print("No runs yet. Start one with: finetune submit DIR")


def start_run(deployment: Deployment, path: Path, console: Console, *, name: str = "", check: bool = True) -> str:
    """Uploads a data file, or a folder with its run.json last, and returns the id of the run this starts.

    Raises `RunRefused` where run.json cannot be read and `DatasetRefused` where the data cannot be trained on, both
    before anything is uploaded.
    """
    files = files_to_submit(path) if path.is_dir() else [path]
    run_json = _run_json(path)
    request, findings = read_request(run_json)
    if findings:
        raise RunRefused(findings)
    if check:
        _require_usable(files, request, console)
    if path.is_dir():
        for note in left_out_notes([path]):
            console.print(plain(note), soft_wrap=True)
        with _uploading(console) as started:
            upload = submit_folder(deployment, files, run_json, name or path.resolve().name, started)
    else:
        with _uploading(console) as started:
            upload = submit_file(deployment, path, started(path), name)
    said = f"Uploaded s3://{upload.bucket}/{upload.key}, which starts the run {upload.run_id}"
    console.print(plain(said), soft_wrap=True)
    return upload.run_id


def follow(deployment: Deployment, run_id: str, console: Console, poll_seconds: float = 1.0) -> RunStatus:
    """Shows the run until it ends: a live view in a terminal, else a line for each thing that happens.

    Raises `FineTuningError` (RUN_NOT_STARTED) where no run begins, or where its execution ended without saying so.
    """
    views = _live if console.is_terminal else _log
    with views(console) as show:
        for status in status_changes(deployment, run_id, poll_seconds):
            show(status, deployment.plan(run_id) if console.is_terminal else None)
    wait_for_report(status, poll_seconds)
    return status


def show_result(deployment: Deployment, status: RunStatus, console: Console) -> None:
    """What a finished run leaves its user with: answers and how to ask on, or the error and its fix."""
    if status.state is not RunState.SUCCEEDED:
        console.print(error_panel(status.error or {}))
    evaluation = deployment.evaluation(status.run_id)
    if evaluation:
        console.print(answers_table(evaluation))
        console.print(plain(verdict(evaluation)), soft_wrap=True)
    if status.metrics and not console.is_terminal:
        console.print(loss_curve(status))
    console.print(plain(f"Took {elapsed(status.updated_at - status.started_at)}. {cost_line(status.cost)}"))
    if status.state is RunState.SUCCEEDED and status.endpoint:
        console.print(plain(f"Ask it:  {commands.ask(status.endpoint, deployment.stage)}"), soft_wrap=True)
    page = Style(link=deployment.store.link(RunLayout(status.run_id).report_page, LINK_HOURS))
    console.print(Text.assemble("Report:  ", (deployment.report_page(status.run_id), page)), soft_wrap=True)
    console.print(plain(f"Open it: {commands.report(status.run_id, deployment.stage)}"), soft_wrap=True)


def _run_json(path: Path) -> bytes:
    settings = path / RUN_FILE
    return settings.read_bytes() if settings.is_file() else b"{}"


def _require_usable(files: Sequence[Path], request: RunRequest, console: Console) -> None:
    """The check that the workflow makes, made here first; a refusal shows the whole report of the data."""
    beside = next((file for file in files if file.name == TEMPLATE_FILE), None)
    report = dataset_report(
        [file for file in files if is_data(file.name)], request, None if request.template else beside
    )
    if report.refusal:
        console.print(shown(report))
        raise DatasetRefused(report.refusal.message, report.refusal.fix)
    console.print(f"Checked: {report.rows.train:,} rows to train on, {report.rows.validation:,} held out")


def _watch(deployment: Deployment, run_id: str, console: Console, as_json: bool) -> None:
    try:
        status = follow(deployment, run_id, console)
    except KeyboardInterrupt:
        back = commands.watch(run_id, deployment.stage)
        console.print(plain(f"Stopped watching; the run goes on. Come back with: {back}"), soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        evaluation = deployment.evaluation(run_id)
        print_json(
            {
                "status": status.model_dump(mode="json"),
                "evaluation": evaluation.model_dump(mode="json") if evaluation else None,
            }
        )
    else:
        show_result(deployment, status, console)
    if status.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)


@contextmanager
def _live(console: Console) -> Iterator[View]:
    """A view that is redrawn in place, with clocks that go on between two changes."""
    latest: list[tuple[RunStatus, RunPlan | None]] = []
    with Live(
        get_renderable=lambda: (
            progress(latest[-1][0], now(), latest[-1][1]) if latest else "Waiting for the run to begin …"
        ),
        console=console,
        refresh_per_second=4,
    ) as live:
        yield lambda status, plan: latest.append((status, plan))
        live.refresh()


@contextmanager
def _log(console: Console) -> Iterator[View]:
    """A view that prints each event and each metric once."""
    seen = {"events": 0, "metrics": 0}

    def show(status: RunStatus, _: RunPlan | None) -> None:
        for event in status.events[seen["events"] :]:
            console.print(event_line(event), soft_wrap=True)
        for metric in status.metrics[seen["metrics"] :]:
            console.print(metric_line(metric), soft_wrap=True)
        seen.update(events=len(status.events), metrics=len(status.metrics))

    yield show


@contextmanager
def _uploading(console: Console) -> Iterator[Callable[[Path], Advance]]:
    """Yields a function that opens a file's progress bar (or prints a line) and returns its `advance`."""
    title = TextColumn("{task.description}")
    columns = (title, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def started(path: Path) -> Advance:
            size = path.stat().st_size
            if not console.is_terminal:
                console.print(plain(f"Uploading {path.name} ({size:,} bytes)"))
            task = bars.add_task(path.name, total=size)
            return lambda sent: bars.update(task, advance=sent)

        yield started
