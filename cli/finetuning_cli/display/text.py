"""Text helpers of every view. Text from data or a model is shown as plain text, never as markup."""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from finetuning.report.text import shortened, visible

MAX_SHOWN = 700
"""Characters of a message in a table."""

WIDE_ENOUGH = 100
"""Columns of a terminal from which a run or an endpoint fits into a row of a table."""


PLACE = "Where"
"""The column of `records` with places in files."""


def plain(text: str, style: str = "") -> Text:
    """Literal text: no markup, and no control characters, which could drive the terminal or reverse the line."""
    return Text(visible(text), style=style)


def short(text: str, most: int = MAX_SHOWN) -> Text:
    return plain(shortened(text, most))


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def elapsed(duration: timedelta) -> str:
    """`0:42`, `12:03` or `1:02:03`."""
    minutes, seconds = divmod(max(0, int(duration.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def rounded(duration: timedelta) -> str:
    """To the minute: `1 h 3 min`, `45 min`, `less than 1 min`."""
    hours, minutes = divmod(int(duration.total_seconds()) // 60, 60)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes else []
    return " ".join(parts) or "less than 1 min"


def list_table(name: str, *titles: str) -> Table:
    """A table whose first column holds names, which users copy: the other columns wrap first."""
    others = (Column(title, overflow="fold") for title in titles)
    return Table(Column(name, no_wrap=True, overflow="fold"), *others, box=box.SIMPLE_HEAD, padding=(0, 1))


def records(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, title: str = "") -> RenderableType:
    """A table; in a narrow terminal some lines for each row, so that nothing that users copy is broken."""
    if width >= WIDE_ENOUGH:
        table = Table(Column(titles[0], overflow="fold"), *titles[1:], title=title or None, title_justify="left")
        for row in rows:
            table.add_row(*map(plain, row))
        return table
    lines = [plain(title, "italic")] if title else []
    for name, *values in rows:
        lines.append(_unbroken(plain(name, "bold")))
        for each, value in zip(titles[1:], values, strict=True):
            if not value:
                continue
            line = plain(f"  {each.lower()}: {value}")
            lines.append(_unbroken(line) if each == PLACE else line)
    return Group(*lines)


def _unbroken(line: Text) -> Text:
    """A line that the terminal may wrap: it copies whole, unlike one that is wrapped here."""
    line.no_wrap, line.overflow = True, "ignore"
    return line


def stream_printer(console: Console) -> Callable[[str], None]:
    """Prints pieces of a text as they arrive, without the leading space of the first."""
    begun = False

    def on_text(piece: str) -> None:
        nonlocal begun
        text = piece if begun else piece.lstrip()
        if text:
            begun = True
            console.print(plain(text), end="", soft_wrap=True)

    return on_text


def print_json(document: Any) -> None:
    """The one document of a command with `--json`, on standard output. Escaped where that is not UTF-8."""
    escaped = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    print(json.dumps(document, ensure_ascii=escaped, indent=2))
