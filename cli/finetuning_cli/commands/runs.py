"""`finetune submit`, `watch` and `runs`: a deployed stage's runs from the terminal."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from finetuning_cli.commands.options import (
    AsJson,
    RunName,
    Stage,
    exit_by_verdict,
    progress_console,
    region_in_use,
    with_run_options,
)

if TYPE_CHECKING:
    from finetuning.operations.run import Run
    from finetuning_cli.preflight.data import LocalData
    from finetuning_cli.stage.deployment import Deployment


@with_run_options
def submit(
    chosen: dict[str, Any],
    path: Annotated[
        Path | None, typer.Argument(exists=True, help="A data file, or a folder with data and a run.json.")
    ] = None,
    stage: Stage = "dev",
    again: Annotated[str, typer.Option(help="Instead of a path: the run whose upload is submitted again.")] = "",
    name: Annotated[str, typer.Option(help="The run's name. Default: that of the folder or file.")] = "",
    check: Annotated[bool, typer.Option(help="Check the data and the plan before uploading anything.")] = True,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload data, which starts a run.

    First checks the data and the plan as the workflow does, with the
    stage's limits, and uploads nothing that it would refuse. For a folder,
    uploads the data files and template.json, then run.json, which starts
    the run. A single file runs with the stage's defaults. If options set
    fields of run.json, prints the run.json that is uploaded.

    \b
    Examples:
      finetune submit examples/chat --accept-eula --watch
      finetune submit faq.jsonl --accept-eula --epochs 3 --max-cost 20
      finetune submit data --name support-v2 --stage prod
      finetune submit --again pirate-0a1b2c3d
    """
    from finetuning.report import commands
    from finetuning_cli.display.text import plain, print_json
    from finetuning_cli.preflight.data import LocalData
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run
    from finetuning_cli.stage.uploads import resubmit

    if "/" in name:
        raise typer.BadParameter("A run's name cannot contain a slash.", param_hint="--name")
    if (path is None) == (not again):
        raise typer.BadParameter("Give a path, or a run with --again.")
    if again and chosen:
        raise typer.BadParameter("--again repeats an upload unchanged, so settings of the run cannot be set.")
    console = progress_console(as_json)
    deployment = Deployment.find(stage)
    if path is None:
        run_id = resubmit(deployment, find_run(deployment, again)).run_id
        console.print(plain(f"Repeated the upload of {again}, which starts the run {run_id}"))
    else:
        data = LocalData.read_upload(path).with_options(chosen)
        data.require_files()
        if check:
            _judge(deployment, data, name or data.name, console)
        run_id = _upload(deployment, data, name or data.name, console)
    if watch:
        _watch(deployment.run(run_id), stage, console, as_json)
    elif as_json:
        print_json({"run_id": run_id})
    elif console.quiet:
        print(run_id)
    else:
        console.print(plain(f"Follow it with: {commands.watch(run_id, stage)}"), soft_wrap=True)


def watch(run: RunName, stage: Stage = "dev", as_json: AsJson = False) -> None:
    """Follow a run to its end: a live view in a terminal, otherwise one line per event.

    Ctrl-C stops watching, not the run. Several people can watch at once, from the start or later.

    \b
    Examples:
      finetune watch pirate                     the latest run of that name
      finetune watch pirate-0a1b2c3d --json     wait for its end, then print status and answers

    Exit code: 0 if the run succeeded, 3 if tuning made no measurable change, 4 if it made the
    answers worse, 1 if the run failed, 130 after Ctrl-C.
    """
    from finetuning.runs.uploads import RUN_ID
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import find_run

    deployment = Deployment.find(stage)
    # An id may be watched before its run starts.
    found = deployment.run(run) if RUN_ID.fullmatch(run) else find_run(deployment, run)
    _watch(found, stage, progress_console(as_json), as_json)


def runs(stage: Stage = "dev", as_json: AsJson = False) -> None:
    """List the runs, latest first.

    \b
    Examples:
      finetune runs
      finetune runs --json | jq -r '.[] | select(.state == "failed") | .run_id'
    """
    from finetuning_cli.display.runs import runs_table
    from finetuning_cli.display.text import print_json
    from finetuning_cli.stage.deployment import Deployment
    from finetuning_cli.stage.runs import list_runs

    found = list_runs(Deployment.find(stage))
    if as_json:
        print_json([status.model_dump(mode="json", exclude={"events", "metrics"}) for status in found])
    elif found:
        console = Console()
        console.print(runs_table(found, datetime.now(UTC), console.width))
    else:
        Console().print("No runs yet. Start one with: finetune submit DIR")


def _judge(deployment: "Deployment", data: "LocalData", name: str, console: Console) -> None:
    """Prints what the run will do. Raises `RunRefused` if the workflow would refuse it."""
    from finetuning.errors import RunRefused
    from finetuning_cli.display.data import data_report
    from finetuning_cli.display.findings import checks_table
    from finetuning_cli.display.plan import answer
    from finetuning_cli.display.progress_bars import reading_bar
    from finetuning_cli.display.text import counted, plain
    from finetuning_cli.preflight.models import ModelFacts
    from finetuning_cli.preflight.planning import Circumstances, plan_run, unlimited_stage

    region = region_in_use()
    facts, note = ModelFacts.live_or_kept(region)
    given = Circumstances(facts, deployment.settings or unlimited_stage(region), deployment.measured)
    with reading_bar(progress_console(as_json=True), data.files) as progress:
        planned = plan_run(data, given, name=name, progress=progress)
    report = planned.report
    if report and not report.ok:
        console.print(data_report(report, console.width, with_verdict=False), crop=False)
    if planned.checklist.findings:
        raise RunRefused(planned.checklist.findings)
    for line in [note, *(report.understood if report else []), *data.left_out_notes]:
        console.print(plain(line), soft_wrap=True) if line else None
    if report:
        rows = report.rows
        console.print(f"Checked: {counted(rows.train, 'row')} to train on, {rows.validation:,} held out")
    if unsure := [check for check in planned.checklist.checks if check.ok is None]:
        console.print(checks_table(unsure))
    console.print(answer(planned), soft_wrap=True)


def _upload(deployment: "Deployment", data: "LocalData", name: str, console: Console) -> str:
    """The id of the run that the upload starts."""
    from finetuning_cli.display.progress_bars import upload_bars
    from finetuning_cli.display.text import plain
    from finetuning_cli.stage.uploads import submit_file, submit_folder

    (path,) = data.given
    as_folder = path.is_dir() or data.run_json or data.options
    if data.options:
        console.print(plain(f"run.json: {data.run_json_body.decode()}"), soft_wrap=True)
    with upload_bars(console) as started:
        if as_folder:
            upload = submit_folder(deployment, data.uploads, data.run_json_body, name, started)
        else:
            upload = submit_file(deployment, path, started(path), name)
    started_run = f"Uploaded s3://{upload.bucket}/{upload.key}, which starts the run {upload.run_id}"
    console.print(plain(started_run), soft_wrap=True)
    return upload.run_id


def _watch(run: "Run", stage: str, console: Console, as_json: bool) -> None:
    from finetuning.report import commands
    from finetuning.runs.status import RunState
    from finetuning_cli.display.following import follow, show_result
    from finetuning_cli.display.text import plain, print_json

    try:
        status = follow(run, console)
    except KeyboardInterrupt:
        back = commands.watch(run.run_id, stage)
        console.print(plain(f"Stopped watching; the run is still running. Come back with: {back}"), soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        evaluation = run.find_evaluation()
        print_json(
            {
                "status": status.model_dump(mode="json"),
                "evaluation": evaluation.model_dump(mode="json") if evaluation else None,
            }
        )
    else:
        show_result(run, status, stage, Console())
    if status.state is not RunState.SUCCEEDED:
        raise typer.Exit(1)
    exit_by_verdict(status.verdict)
