"""`finetune check` and `finetune prepare`: what training would make of data files, before they are uploaded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table
from rich.text import Text

from cli.display.runs import plain, short
from cli.options import AsJson, print_json
from finetuning.aws.upload_bucket import RUN_FILE, TEMPLATE_FILE, is_data
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.templates import Template, read_template
from finetuning.errors import RunRefused
from finetuning.jumpstart.catalogue import CATALOGUE, ModelSupport, support
from finetuning.jumpstart.family import Task
from finetuning.runs.run_json import RunRequest, read_request

SHOWN_ERRORS = 10
BAR_WIDTH = 40

Files = Annotated[list[Path], typer.Argument(exists=True, help="Data files, or folders of them.")]
Model = Annotated[str | None, typer.Option(help="A JumpStart model id: its tasks and input length are checked too.")]
TaskName = Annotated[
    str | None, typer.Option(help="auto, chat, instruction or domain_adaptation. Default: run.json's, else auto.")
]
TemplateFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A template.json. Default: the one in the folder, if there is one."),
]


def check(
    files: Files,
    as_json: AsJson = False,
    model: Model = None,
    task: TaskName = None,
    template: TemplateFile = None,
) -> None:
    """Tell what data files are, what training would use of them, and what is wrong, line by line.

    A folder's run.json and template.json count as they do in a run; options go before them.

    \b
    Examples:
      finetune check faq.jsonl
      finetune check data/ --model meta-textgeneration-llama-3-1-8b-instruct --task chat
      finetune check *.csv --json | jq .error_counts

    Exit code: 0 where the data is good to train, 1 where the workflow would refuse it.
    """
    report = _prepared(files, None, model, task, template)
    if as_json:
        print_json({**report.model_dump(mode="json"), "ok": report.ok})
    else:
        Console().print(shown(report))
    raise typer.Exit(0 if report.ok else 1)


def prepare(
    files: Files,
    out: Annotated[
        Path,
        typer.Option(file_okay=False, writable=True, help="Where to write train/, validation/ and report.json."),
    ],
    model: Model = None,
    task: TaskName = None,
    template: TemplateFile = None,
    as_json: AsJson = False,
) -> None:
    """Write what training would get: the very bytes the workflow would put into the channels.

    A folder's run.json and template.json count as they do in a run; options go before them.

    \b
    Example:
      finetune prepare examples/chat --out prepared
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be made: {error.strerror}.", param_hint="--out") from error
    report = _prepared(files, out, model, task, template)
    (out / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    if as_json:
        print_json({**report.model_dump(mode="json"), "ok": report.ok})
    else:
        console = Console()
        console.print(shown(report))
        if report.ok:
            console.print(f"Written to {out}/train and {out}/validation", highlight=False)
    raise typer.Exit(0 if report.ok else 1)


def _prepared(
    given: list[Path], out: Path | None, model: str | None, task: str | None, template: Path | None
) -> DatasetReport:
    if task not in (None, "auto", *Task):
        raise typer.BadParameter(f"{task!r} is none of auto, {', '.join(Task)}.", param_hint="--task")
    files = [file for path in given for file in _data_files(path)]
    if not files:
        raise typer.BadParameter("There is no data file in the folder.", param_hint="FILES")
    settings = next((path / RUN_FILE for path in given if (path / RUN_FILE).is_file()), None)
    request = _request(settings) if settings else RunRequest()
    templates = [path / TEMPLATE_FILE for path in given if (path / TEMPLATE_FILE).is_file()]
    if not request.template:
        template = template or next(iter(templates), None)
    asked = {name: value for name, value in (("model", model), ("task", task)) if value}
    report = dataset_report(files, request.model_copy(update=asked), template, out)
    notes = [*report.notes, *left_out_notes(given)]
    if settings:
        notes.append(
            f"Read with {settings}: {request.validation_fraction:.0%} held out, "
            f"{request.max_error_fraction:.0%} of the lines may be unusable"
        )
    return report.model_copy(update={"notes": notes})


def dataset_report(
    files: Sequence[Path], request: RunRequest, template_file: Path | None, out: Path | None = None
) -> DatasetReport:
    """What a run with this request makes of the data files, written to `out` where it is given; progress on the way.

    The template file goes before the request's own template.
    """
    limits = support(request.model) if request.model else None
    with _reading_progress() as bar:
        reading = bar.add_task("Reading", total=sum(file.stat().st_size for file in files))
        return prepare_files(
            files,
            out,
            task=request.task,
            template=_template(template_file, request),
            supported=limits.tasks if limits else tuple(Task),
            max_input_length=_input_length(request, limits),
            validation_fraction=request.validation_fraction,
            max_error_fraction=request.max_error_fraction,
            repair=request.repair,
            progress=lambda count: bar.advance(reading, count),
        )


def _template(file: Path | None, request: RunRequest) -> Template | None:
    if file:
        return read_template(file.read_bytes())
    return request.template.texts if request.template else None


def _input_length(request: RunRequest, limits: ModelSupport | None) -> int:
    """Tokens of a row that training reads: as asked, else the model's, else the least of all models'."""
    asked = str(request.hyperparameters.get("max_input_length", ""))
    if asked.isdigit() and int(asked):
        return int(asked)
    return limits.input_length if limits else min(each.input_length for each in CATALOGUE.values())


def _request(settings: Path) -> RunRequest:
    request, findings = read_request(settings.read_bytes())
    if findings:
        raise RunRefused(findings)
    return request


def left_out_notes(given: Sequence[Path]) -> list[str]:
    """What a run of these folders would not read, named."""
    others = [
        f"{file}/" if file.is_dir() else str(file)
        for path in given
        if path.is_dir()
        for file in sorted(path.iterdir())
        if not is_data(file.name) and file.name not in (RUN_FILE, TEMPLATE_FILE) and not file.name.startswith(".")
    ]
    return [f"Left out, for their names are not those of data files: {', '.join(others)}"] if others else []


def _data_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and is_data(file.name))


def _reading_progress() -> Progress:
    """A bar on standard error, gone when it is full; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def shown(report: DatasetReport) -> RenderableType:
    return Group(*_parts(report))


def _parts(report: DatasetReport) -> Iterator[RenderableType]:
    """The report for a person: files, counts, errors, lengths, samples, and at last the verdict."""
    yield _files(report)
    yield _counts(report)
    if report.error_counts:
        yield _errors(report)
    if report.statistics.histogram:
        yield _lengths(report)
    for sample in report.samples[:1]:
        yield Panel(short(sample), title="As the model sees it", title_align="left")
    if report.ignored_columns:
        columns = ", ".join(f"{name} ({count:,} rows)" for name, count in report.ignored_columns.items())
        lost = str(report.task) == str(Task.DOMAIN_ADAPTATION)
        advice = "; to train on questions and answers, name the columns prompt and completion, or give a template"
        yield plain(f"· Columns not used: {columns}{advice if lost else ''}", "yellow" if lost else "")
    for note in report.notes:
        yield plain(f"· {note}")
    if report.refusal:
        yield Text.assemble((f"{report.refusal.code} ", "bold red"), plain(report.refusal.message))
        yield Text.assemble(("What to do: ", "bold"), plain(report.refusal.fix))
    else:
        yield Text.assemble(
            ("Good to train: ", "bold green"), f"{report.rows.train:,} rows, {report.rows.validation:,} held out"
        )


def _files(report: DatasetReport) -> Table:
    table = Table(Column("File", overflow="fold"), "Format", "Shape", "Lines", "Why", title_justify="left")
    for file in report.files:
        format_ = (file.format or "?") + (".gz" if file.compressed else "")
        table.add_row(plain(file.path), format_, plain(file.shape), f"{file.lines:,}", plain(file.why))
    return table


def _counts(report: DatasetReport) -> Table:
    rows, statistics = report.rows, report.statistics
    table = Table("Task", "Lines", "Kept", "Train", "Held out", "Duplicate", "Errors", "Blank", box=box.SIMPLE_HEAD)
    counts = (rows.lines, rows.kept, rows.train, rows.validation, rows.duplicates, rows.errors, rows.blank)
    table.add_row(str(report.task or "?"), *(f"{count:,}" for count in counts))
    table.caption = f"About {statistics.tokens:,} tokens"
    return table


def _errors(report: DatasetReport) -> Table:
    table = Table("Code", "Where", "What", "What to do", title="Errors", title_justify="left")
    for error in report.errors[:SHOWN_ERRORS]:
        where = f"{error.file} line {error.line}" + (f" {error.path}" if error.path else "")
        table.add_row(error.code, plain(where), plain(error.message), plain(error.fix))
    listed = ", ".join(f"{code} {count:,}" for code, count in report.error_counts.items())
    table.caption = f"All of them: {listed}"
    return table


def _lengths(report: DatasetReport) -> Table:
    statistics = report.statistics
    most = max(bucket.rows for bucket in statistics.histogram) or 1
    table = Table("Tokens", "Rows", "", title="Lengths", title_justify="left")
    for bucket in statistics.histogram:
        bar = "█" * round(BAR_WIDTH * bucket.rows / most)
        table.add_row(f"{bucket.at_least:,}–{bucket.below - 1:,}", f"{bucket.rows:,}", bar)
    if statistics.truncated:
        table.caption = (
            f"{statistics.truncated:,} rows are longer than {statistics.max_input_length:,} tokens and are cut off."
        )
    return table
