"""Progress bars: reading data files, uploading them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from finetuning_cli.display.text import counted, plain

# `finetune check` shows a bar and needs no AWS SDK, whose import takes longer than the check of a small file.
if TYPE_CHECKING:
    from finetuning_cli.stage.uploads import Advance


@contextmanager
def reading_bar(console: Console, files: Sequence[Path]) -> Iterator["Advance"]:
    """A bar, removed when it is full; nothing if the console is not a terminal."""
    with Progress(*_columns(), console=console, transient=True, disable=not console.is_terminal) as bar:
        reading = bar.add_task("Reading", total=sum(file.stat().st_size for file in files))
        yield lambda count: bar.advance(reading, count)


@contextmanager
def upload_bars(console: Console) -> Iterator[Callable[[Path], "Advance"]]:
    """Yields a function that opens a file's progress bar (or prints a line) and returns its `Advance`."""
    with Progress(*_columns(), console=console, disable=not console.is_terminal) as bars:

        def started(path: Path) -> "Advance":
            size = path.stat().st_size
            if not console.is_terminal:
                console.print(plain(f"Uploading {path.name} ({counted(size, 'byte')})"))
            task = bars.add_task(path.name, total=size)
            return lambda sent: bars.update(task, advance=sent)

        yield started


@contextmanager
def download_bar(console: Console, size: int) -> Iterator["Advance"]:
    """A bar for all files together; nothing if the output is not a terminal."""
    with Progress(*_columns(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Downloading", total=size)
        yield lambda count: bar.advance(task, count)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
