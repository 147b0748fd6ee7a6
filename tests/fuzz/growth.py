"""Input that grows by doubling: `python -m tests.fuzz --grow` reports what takes more than n log n to read.

A text is a beginning, a piece that is repeated, and an end. First every regular expression of the package is searched
in texts that are hostile to it, then every reader reads texts of known pieces, then of random ones until the time is
up.
"""

import io
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console

from benchmarks.bench_patterns import growths as pattern_growths
from benchmarks.growth import Growth, grow
from finetuning.datasets.offline import prepare_files
from finetuning.datasets.options import DataOptions
from finetuning.datasets.templates import read_template
from finetuning.errors import FineTuningError
from finetuning.runs.run_json import read_request
from finetuning_cli.display.data import data_report
from tests.fuzz.broken_files import any_broken_file

SMALLEST, LARGEST = 1 << 13, 1 << 20
"""Bytes of a text."""

BEGINS = (
    b"",
    b"[",
    b'{"messages":"',
    b'{"messages":[',
    b'{"messages":[{"role":"user","content":"',
    b'{"text":"<|im_start|>user\\n',
    b'{"a":"',
    b'"',
    b'prompt,completion\n"',
    b"prompt,completion\n",
)
PIECES = (
    *(b" ", b"\n", b"\r", b"a", b"0", b"-", b".", b",", b"[", b"{", b"\\", b'"', b'\\"', b"'", b"a ", b"[ ", b": "),
    *(b"x\n", b'{"a":', b'"a",', b'"a":1,', b"a,b\n", b'""', b"\\u0000", b"<|im_end|> ", b"\xe2\x80\x8b", b"\xe9"),
    *(b'{"prompt":"Hi","completion":"Ho"}\n', b'{"role":"user","content":"Hi"},', b"### Response:\\n"),
)
ENDS = (b"", b'"}\n', b"\0")
FILES = ("data.jsonl", "data.json", "data.csv", "data.txt")


class Case(NamedTuple):
    """A reader, and the text whose piece is repeated for it."""

    reader: str
    begin: bytes
    piece: bytes
    end: bytes

    def __str__(self) -> str:
        return f"{self.reader}: {self.begin[:40]!r} + {self.piece[:40]!r} × n + {self.end[:40]!r}"

    def text(self, size: int) -> bytes:
        return self.begin + self.piece * (size // len(self.piece)) + self.end


def _read_file(folder: Path, name: str, text: bytes) -> None:
    """The file as the workflow reads it, and its report as a terminal shows it."""
    path = folder / name
    path.write_bytes(text)
    report = prepare_files([path], options=DataOptions(max_error_fraction=1))
    Console(file=io.StringIO(), width=100).print(data_report(report, 100))


def _read_template(text: bytes) -> None:
    with suppress(FineTuningError):  # most texts are no template; here only the time matters
        read_template(text)


def readers(folder: Path) -> dict[str, Callable[[bytes], object]]:
    """By the name of the file that each reads."""
    files: dict[str, Callable[[bytes], object]] = {name: partial(_read_file, folder, name) for name in FILES}
    return files | {"run.json": read_request, "template.json": _read_template}


def known_cases() -> Iterator[Case]:
    for name, begin, piece, end in product(FILES, BEGINS, PIECES, ENDS):
        yield Case(name, begin, piece, end)
    for name, piece in product(("run.json", "template.json"), PIECES):
        yield Case(name, b'{"a":"', piece, b"")
        yield Case(name, b"{", piece, b"")


def random_case(seed: int) -> Case:
    chance = random.Random(seed)
    name = chance.choice(FILES)
    text = any_broken_file(chance, name) or b"x"
    at = chance.randrange(len(text))
    piece = text[at : at + chance.choice((1, 2, 3, 8, 40, 300))]
    return Case(name, text[: chance.randrange(at + 1)][-2000:], piece, text[at:][:2000])


def growth_of(case: Case) -> Growth | None:
    """How the time of the case's reader grows."""
    with TemporaryDirectory() as folder:
        read = readers(Path(folder))[case.reader]
        return grow(lambda size: read(case.text(size)), SMALLEST, LARGEST)


def growths(seed: int) -> Iterator[tuple[str, Growth | None]]:
    """What was read, and how its time grew; without an end."""
    yield from pattern_growths()
    known = list(known_cases())
    random.Random(seed).shuffle(known)  # so that a short run sees something of everything
    for case in known:
        yield str(case), growth_of(case)
    while True:
        yield f"seed {seed}, {random_case(seed)}", growth_of(random_case(seed))
        seed += 1
