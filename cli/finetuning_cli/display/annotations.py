"""Findings as annotations of files, in the form of GitHub's workflow commands.

A command is one line, `::error file=faq.jsonl,line=7,title=…::message`; the runner unescapes properties and message.
Line breaks are escaped, so that no text of the data can begin a command of its own.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from finetuning.datasets.dataset_report import DatasetReport
from finetuning.datasets.formats import Format
from finetuning.errors import FineTuningError
from finetuning.report.text import visible
from finetuning_cli.display.text import counted

_ESCAPED = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_ESCAPED_PROPERTY = _ESCAPED | str.maketrans({":": "%3A", ",": "%2C"})


class _Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


def of_report(report: DatasetReport, root: Path) -> Iterator[str]:
    """The verdict, then each listed line: an error if the data is refused, else a warning. A verdict that is that of a
    whole file is given once, with the file.

    Files are named relative to `root`, the folder of the repository. The rows of a compressed or a Parquet file have no
    lines that could be shown: their number is in the message.
    """
    if report.refusal is None:
        rows = f"{counted(report.rows.train, 'row')}, {report.rows.validation:,} held out"
        yield _command(_Level.NOTICE, rows, title="Ready to train")
    elif not any(error.code == report.refusal.code and not error.line for error in report.errors):
        yield _command(_Level.ERROR, _text(report.refusal.message, report.refusal.fix), title=report.refusal.code)
    unreadable = {file.path for file in report.files if file.compressed or file.format == Format.PARQUET}
    level = _Level.WARNING if report.refusal is None else _Level.ERROR
    for error in report.errors:
        place = [f"Row {error.line}"] if error.line and error.file in unreadable else []
        place += [f"Element {error.element}"] if error.element else []
        place += [error.path] if error.path else []
        message = f"{', '.join(place)}: {error.message}" if place else error.message
        line = 0 if error.file in unreadable else error.line
        yield _command(level, _text(message, error.fix), title=error.code, file=_within(error.file, root), line=line)


def of_error(error: FineTuningError, file: Path | None, root: Path) -> Iterator[str]:
    """Why nothing could be checked: each finding on run.json, or the error itself."""
    where = _within(str(file), root) if file else ""
    for each in error.findings or (error,):
        yield _command(_Level.ERROR, _text(each.message, each.fix), title=each.code, file=where)


def _text(message: str, fix: str) -> str:
    return f"{message}\n{fix}"


def _within(file: str, root: Path) -> str:
    """The path within the repository; unchanged for a file elsewhere."""
    path = Path(file).resolve()
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else file


def _command(level: _Level, message: str, *, title: str, file: str = "", line: int = 0) -> str:
    properties = {"file": file, "line": str(line or ""), "title": title}
    listed = ",".join(f"{name}={value.translate(_ESCAPED_PROPERTY)}" for name, value in properties.items() if value)
    return f"::{level} {listed}::{visible(message).translate(_ESCAPED)}"
