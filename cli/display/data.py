"""The report on data files in a terminal."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from cli.display.charts import length_histogram
from cli.display.text import counted, plain, short
from finetuning.datasets.dataset_report import DatasetReport
from finetuning.jumpstart.family import Task

SHOWN_ERRORS = 10


def data_report(report: DatasetReport, *, with_verdict: bool = True) -> RenderableType:
    """What `finetune check` prints. `submit` prints it for refused data, without the verdict, which is its error."""
    return Group(*_parts(report), *([_verdict(report)] if with_verdict else []))


def _parts(report: DatasetReport) -> Iterator[RenderableType]:
    """Files, counts, errors, lengths, a sample and notes."""
    yield _files(report)
    for line in report.understood:
        yield plain(line, "bold")
    yield _counts(report)
    if report.error_counts:
        yield _errors(report)
    if report.statistics.histogram:
        yield length_histogram(report.statistics)
    for sample in report.samples[:1]:
        yield Panel(short(sample), title="As the model sees it", title_align="left")
    if report.ignored_columns:
        columns = ", ".join(f"{name} ({counted(count, 'row')})" for name, count in report.ignored_columns.items())
        lost = str(report.task) == str(Task.DOMAIN_ADAPTATION)
        advice = "; to train on questions and answers, name the columns prompt and completion, or give a template"
        yield plain(f"· Unused columns: {columns}{advice if lost else ''}", "yellow" if lost else "")
    for note in report.notes:
        yield plain(f"· {note}")


def _verdict(report: DatasetReport) -> RenderableType:
    if report.refusal:
        return Group(
            Text.assemble((f"{report.refusal.code} ", "bold red"), plain(report.refusal.message)),
            Text.assemble(("→ ", "green"), plain(report.refusal.fix)),
        )
    return Text.assemble(
        ("Ready to train: ", "bold green"),
        f"{counted(report.rows.train, 'row')}, {report.rows.validation:,} held out"
        + (f", {report.rows.test:,} for tests" if report.rows.test else ""),
    )


def _files(report: DatasetReport) -> Table:
    table = Table(Column("File", overflow="fold"), "Format", "Shape", "Lines", "Reason", title_justify="left")
    for file in report.files:
        format_ = (file.format or "?") + (".gz" if file.compressed else "")
        table.add_row(plain(file.path), format_, plain(file.shape), f"{file.lines:,}", plain(file.why))
    return table


def _counts(report: DatasetReport) -> Table:
    rows, statistics = report.rows, report.statistics
    counts = {
        "Lines": rows.lines,
        "Kept": rows.kept,
        "Train": rows.train,
        "Held out": rows.validation,
        **({"Test": rows.test} if rows.test else {}),
        "Duplicate": rows.duplicates,
        **({"Dropped": rows.dropped} if rows.dropped else {}),
        "Errors": rows.errors,
        "Blank": rows.blank,
    }
    table = Table("Task", *counts, box=box.SIMPLE_HEAD)
    table.add_row(str(report.task or "?"), *(f"{count:,}" for count in counts.values()))
    table.caption = f"About {counted(statistics.tokens, 'token')}, {plain(statistics.tokens_from)}"
    return table


def _errors(report: DatasetReport) -> Table:
    table = Table("Code", "Where", "Problem", "Fix", title="Errors", title_justify="left")
    for error in report.errors[:SHOWN_ERRORS]:
        where = error.where + (f" {error.path}" if error.path else "")
        table.add_row(error.code, plain(where), plain(error.message), plain(error.fix))
    listed = ", ".join(f"{code} {count:,}" for code, count in report.error_counts.items())
    table.caption = f"Total: {listed}"
    return table
