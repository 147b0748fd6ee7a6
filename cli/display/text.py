"""Text helpers of every view. Text from data or a model is shown as plain text, never as markup."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from finetuning.report.text import shortened, visible

MAX_SHOWN = 700
"""Characters of a message in a table."""

WIDE_ENOUGH = 100
"""Columns of a terminal from which a run or an endpoint fits into a row of a table."""


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
    """The one document of a command with `--json`, on standard output."""
    print(json.dumps(document, ensure_ascii=False, indent=2))
