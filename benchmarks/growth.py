"""How a time grows with the size of what is read, by a fit over several sizes: 1 is linear, 2 is the square."""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from math import inf, log2
from statistics import linear_regression
from typing import NamedTuple

BAR = 1.35
"""The exponent above which growth counts as worse than n log n, whose own exponent over these sizes is below 1.1."""

SHORTEST = 0.004
"""CPU seconds below which a time is noise."""

LONGEST = 0.5
"""CPU seconds after which the input is doubled no more."""

FITTED = 4
"""Sizes that are fitted, the largest ones: constant costs hide the growth in the smaller ones."""


class Growth(NamedTuple):
    """The exponent of the time, and the CPU seconds by size."""

    exponent: float
    seconds: Mapping[int, float]

    @property
    def is_worse_than_n_log_n(self) -> bool:
        return self.exponent > BAR

    def __str__(self) -> str:
        times = list(self.seconds.values())
        ratios = " ".join(f"{later / earlier:.1f}" for earlier, later in pairwise(times))
        size, taken = list(self.seconds.items())[-1]
        return f"n^{self.exponent:.2f}  {taken * 1000:7.1f} ms for {size:,} bytes, by doubling × {ratios}"


def grow(read: Callable[[int], object], smallest: int, largest: int) -> Growth | None:
    """Calls `read` with sizes that double, until one takes `LONGEST`. None if too few take long enough to tell.

    Growth that looks worse than n log n is measured again, and the smaller exponent counts: a machine that does
    something else as well makes one measurement slower, rarely two.
    """
    growth = _measured(read, smallest, largest)
    if growth and growth.is_worse_than_n_log_n:
        again = _measured(read, smallest, largest)
        return min(growth, again, key=lambda each: each.exponent) if again else growth
    return growth


def print_worse(growths: Iterable[tuple[str, Growth | None]], until: float = inf) -> int:
    """Prints the growths that are worse than n log n as they come, and their number, until `time.monotonic()` is this.

    Returns an exit code: 1 if there were any.
    """
    tried, worse, fastest = 0, 0, None
    for text, growth in growths:
        tried += 1
        if growth and (fastest is None or growth.exponent > fastest[0].exponent):
            fastest = growth, text
        if growth and growth.is_worse_than_n_log_n:
            worse += 1
            print(f"✗ {growth}\n    {text}", flush=True)
        if time.monotonic() > until:
            break
    if fastest and not worse:
        print(f"The fastest growth: {fastest[0]}\n    {fastest[1]}")
    print(f"{tried:,} texts that grow, {worse} worse than n log n (n^{BAR})")
    return int(worse > 0)


def exponent(seconds: Mapping[int, float]) -> float:
    """The slope of log time over log size."""
    return linear_regression([log2(size) for size in seconds], [log2(each) for each in seconds.values()]).slope


def _measured(read: Callable[[int], object], smallest: int, largest: int) -> Growth | None:
    seconds: dict[int, float] = {}
    size = smallest
    while size <= largest and (not seconds or max(seconds.values()) < LONGEST):
        began = time.process_time()
        read(size)
        if (taken := time.process_time() - began) >= SHORTEST:
            seconds[size] = taken
        size *= 2
    fitted = dict(list(seconds.items())[-FITTED:])
    return Growth(exponent(fitted), fitted) if len(fitted) > 2 else None
