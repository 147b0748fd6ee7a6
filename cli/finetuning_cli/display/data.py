"""The report on data files in a terminal."""

from collections.abc import Iterator
from itertools import islice

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.shard_result import LineError
from finetuning.jumpstart.family import Task
from finetuning_cli.display.charts import length_histogram
from finetuning_cli.display.text import PLACE, WIDE_ENOUGH, counted, plain, records, short

SHOWN_KINDS = 10
"""Kinds of errors that are printed; `--json` has every error that is kept."""


def data_report(report: DatasetReport, width: int, *, with_verdict: bool = True) -> RenderableType:
    """What `finetune check` prints. `submit` prints it for refused data, without the verdict, which is its error."""
    return Group(*_parts(report, width), *([_verdict(report)] if with_verdict else []))


def _parts(report: DatasetReport, width: int) -> Iterator[RenderableType]:
    """Files, counts, errors, lengths, a sample and notes."""
    yield _files(report, width)
    for line in report.understood:
        yield plain(line, "bold")
    if report.rows.lines:
        yield _counts(report, width)
    if any(not _is_refusal(error, report) for error in report.errors):
        yield _errors(report, width)
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


def _files(report: DatasetReport, width: int) -> RenderableType:
    rows = [
        (
            file.path,
            (file.format or "") + (".gz" if file.compressed else ""),
            file.shape,
            f"{file.lines:,}" if report.rows.lines else "",
            file.why,
        )
        for file in report.files
    ]
    return records(("File", "Format", "Shape", "Lines", "Reason"), rows, width)


def _counts(report: DatasetReport, width: int) -> RenderableType:
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
    tokens = f"About {counted(statistics.tokens, 'token')}, {statistics.tokens_from}"
    below = [plain(tokens, "italic")] if rows.kept else []
    if width < WIDE_ENOUGH:
        listed = ", ".join(f"{name.lower()} {count:,}" for name, count in counts.items() if count)
        return Group(plain(f"{report.task}: {listed}"), *below)
    table = Table("Task", *counts, box=box.SIMPLE_HEAD)
    table.add_row(str(report.task), *(f"{count:,}" for count in counts.values()))
    return Group(table, *below)


def _is_refusal(error: LineError, report: DatasetReport) -> bool:
    """The error for which a file was refused unread, and the data with it: it is printed as the verdict."""
    return report.refusal is not None and report.refusal.message in (error.message, f"{error.file}: {error.message}")


def _more(report: DatasetReport, code: str, others: int) -> str:
    """How many errors are of a kind besides the first. Not every error is kept, but all are counted."""
    kept = sum(error.code == code for error in report.errors)
    lost = report.error_counts[code] - kept
    if kept == others + 1:
        others, lost = others + lost, 0
    return f"and {'at least ' if lost else ''}{others:,} more" if others else ""


def _errors(report: DatasetReport, width: int) -> RenderableType:
    """Each kind of error, with its first place and what is wrong there."""
    kinds: dict[tuple[str, str], list[LineError]] = {}
    for error in report.errors:
        if not _is_refusal(error, report):
            kinds.setdefault((error.code, error.fix), []).append(error)
    rows = [
        (
            first.code,
            " ".join(filter(None, (first.where, first.path, _more(report, first.code, len(others))))),
            first.message,
            first.fix,
        )
        for first, *others in islice(kinds.values(), SHOWN_KINDS)
    ]
    listed = ", ".join(f"{code} {count:,}" for code, count in report.error_counts.items())
    table = records(("Code", PLACE, "Problem", "Fix"), rows, width, "Errors")
    return Group(table, plain(f"Total: {listed}", "italic"))
