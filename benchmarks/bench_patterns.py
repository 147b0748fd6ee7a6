"""How the time of every regular expression of the package grows with hostile input: `make bench-patterns`.

Each pattern is searched in texts that repeat one piece, before which and after which another one stands, of one length
and of twice that length. The exponent is log2 of the ratio of the two times: 1 is linear, 2 is the square. Prints the
worst exponents, and exits with 1 where one is above the bar.
"""

import importlib
import math
import pkgutil
import re
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import cli
import finetuning

LENGTH = 4_000
SHORTEST = 0.002
"""Seconds below which a time is noise."""

BAR = 1.5
SHOWN = 8
BEGINS = ("", '"', "[", "a", "<|im_start|>user\n")
PIECES = (" ", "\n", "a", "0", "-", ".", ",", "[", "\\", '"', '\\"', "'", "a ", "[ ", ": ", "<|im_end|> ", "\u200b")
ENDS = ("", "\0")


class Growth(NamedTuple):
    """One pattern on one kind of text: its exponent, and the seconds for the longer text."""

    exponent: float
    seconds: float
    where: str
    text: str


def patterns() -> Iterator[tuple[str, re.Pattern[Any], list[str]]]:
    """Every compiled pattern of the modules, with the name it has there, and the methods that are called."""
    modules = [
        importlib.import_module(module.name)
        for package in (finetuning, cli)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
        if not module.name.endswith("__main__")
    ]
    source = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in modules)
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                called = set(re.findall(rf"\b{name}\.(\w+)\(", source))
                yield f"{module.__name__}.{name}", value, sorted(called & METHODS.keys()) or ["search"]


METHODS: dict[str, Callable[[re.Pattern[Any], Any], object]] = {
    "match": lambda pattern, text: pattern.match(text),
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
    "search": lambda pattern, text: pattern.search(text),
    "finditer": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),
    "findall": lambda pattern, text: pattern.findall(text),
    "split": lambda pattern, text: pattern.split(text),
    "sub": lambda pattern, text: pattern.sub(lambda found: found[0][:0], text),
}


def seconds(pattern: re.Pattern[Any], method: str, text: str) -> float:
    data: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
    began = time.process_time()
    METHODS[method](pattern, data)
    return time.process_time() - began


def growths() -> Iterator[Growth]:
    for where, pattern, methods in patterns():
        for method, begin, piece, end in product(methods, BEGINS, PIECES, ENDS):
            short, long = (begin + piece * (length // len(piece)) + end for length in (LENGTH, 2 * LENGTH))
            taken = seconds(pattern, method, long)
            if taken >= SHORTEST:
                ratio = taken / max(seconds(pattern, method, short), 1e-6)
                text = f"{begin!r} + {piece!r} × n + {end!r}"
                yield Growth(math.log2(ratio), taken, f"{where}.{method}", text)


def main() -> int:
    found = sorted(growths(), reverse=True)
    print(f"{'exponent':>8}  {'ms':>8}  pattern, and the text it was searched in")
    for growth in found[:SHOWN]:
        print(f"{growth.exponent:8.2f}  {growth.seconds * 1000:8.1f}  {growth.where}: {growth.text}")
    worst = found[0].exponent if found else 0.0
    print(f"{len(list(patterns()))} patterns; worst exponent {worst:.2f}, bar {BAR}")
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
