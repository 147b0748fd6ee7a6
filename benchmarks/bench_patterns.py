"""How the time of every regular expression of the package grows with hostile input: `make bench-patterns`.

Each pattern is searched in texts that repeat one piece, before which and after which another one stands, of sizes that
double. Exits with 1 if a time grows faster than n log n (`benchmarks.growth`).
"""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import finetuning
import finetuning_cli
from benchmarks.growth import SHORTEST, Growth, grow, print_worse

SMALLEST, LARGEST = 1 << 9, 1 << 16
"""Characters of a text."""

BEGINS = ("", '"', "[", "a", "<|im_start|>user\n")
PIECES = (" ", "\n", "a", "0", "-", ".", ",", "[", "\\", '"', '\\"', "'", "a ", "[ ", ": ", "<|im_end|> ", "\u200b")
ENDS = ("", "\0")


class Searched(NamedTuple):
    """A pattern, where it is, and the methods of it that are called."""

    where: str
    pattern: re.Pattern[Any]
    methods: Sequence[str]


def patterns() -> list[Searched]:
    """Every pattern of the packages, once: those that modules hold, also within objects, and literals in calls."""
    modules = [
        importlib.import_module(module.name)
        for package in (finetuning, finetuning_cli)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
        if not module.name.endswith("__main__")
    ]
    sources = {module.__name__: Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules}
    source = "".join(sources.values())
    found: dict[re.Pattern[Any], Searched] = {}
    for module in modules:
        held = [each for name, value in vars(module).items() for each in _held(name, value)]
        for where, name, pattern in held:
            called = set(re.findall(rf"\b{name}\.(\w+)\(", source))
            methods = sorted(called & METHODS.keys()) or ["search"]
            found.setdefault(pattern, Searched(f"{module.__name__}.{where}", pattern, methods))
        for line, method, text in _literals(sources[module.__name__]):
            pattern = re.compile(text)
            found.setdefault(pattern, Searched(f"{module.__name__}:{line}", pattern, [method]))
    return list(found.values())


def _held(name: str, value: object, where: str = "") -> Iterator[tuple[str, str, re.Pattern[Any]]]:
    """(where, name, pattern) of a value, and of those in it."""
    where = where or name
    if isinstance(value, re.Pattern):
        yield where, name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _held(name, each, f"{where}[{key!r}]")
    elif isinstance(value, tuple | list | frozenset | set):
        for number, each in enumerate(value):
            yield from _held(name, each, f"{where}[{number}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _held(each.name, getattr(value, each.name), f"{where}.{each.name}")


def _literals(source: str) -> Iterator[tuple[int, str, Any]]:
    """(line, method, pattern) of each call like `re.sub("…", …)`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(ast.Name("re"), method), args=[ast.Constant(text), *_]):
                if method in METHODS:
                    yield node.lineno, method, text


METHODS: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "match": lambda pattern, text: pattern.match(text),
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
    "search": lambda pattern, text: pattern.search(text),
    "finditer": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),
    "findall": lambda pattern, text: pattern.findall(text),
    "split": lambda pattern, text: pattern.split(text),
    "sub": lambda pattern, text: pattern.sub(lambda found: found[0][:0], text),
}


def growths() -> Iterator[tuple[str, Growth | None]]:
    """Each pattern and kind of text, and how the time grows; None where it is too short to tell."""
    for where, pattern, methods in patterns():
        for method, begin, piece, end in product(methods, BEGINS, PIECES, ENDS):

            def search(size: int) -> None:
                text: Any = begin + piece * (size // len(piece)) + end  # noqa: B023 — called within the iteration
                METHODS[method](pattern, text.encode() if isinstance(pattern.pattern, bytes) else text)  # noqa: B023

            yield f"{where}.{method}: {begin!r} + {piece!r} × n + {end!r}", grow(search, SMALLEST, LARGEST)


def main() -> int:
    quick = f"less than {SHORTEST * 1000:.0f} ms for {LARGEST:,} characters"
    print(f"{len(patterns())} patterns; {quick} counts as linear")
    return print_worse(growths())


if __name__ == "__main__":
    sys.exit(main())
