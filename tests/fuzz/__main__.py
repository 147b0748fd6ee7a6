"""`python -m tests.fuzz --seconds 600 [--seed N]`: makes broken files until the time is up or one is mishandled.

The file that was mishandled is kept, and the seed that makes it is printed. With `--grow` texts grow by doubling
instead, and what takes more than n log n to read is reported.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.growth import print_worse
from tests.fuzz.broken_files import Mishandled, try_file
from tests.fuzz.growth import growths


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()) << 20)
    parser.add_argument("--grow", action="store_true")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    return print_worse(growths(options.seed), until) if options.grow else _break(until, options.seed)


def _break(until: float, first: int) -> int:
    seed, lines = first, 0
    with TemporaryDirectory() as folder:
        while time.monotonic() < until:
            try:
                lines += try_file(seed, Path(folder))
            except Mishandled as mishandled:
                print(f"\nseed {seed}: {mishandled}; python -m tests.fuzz --seed {seed} --seconds 1 repeats it")
                return 1
            seed += 1
            if not seed % 100:
                left = max(0, until - time.monotonic())
                print(f"\r{seed - first:,} files, {lines:,} lines, {left:.0f} s left ", end="", flush=True)
    print(f"\r{seed - first:,} files, {lines:,} lines: no crash, no untyped error, no lost line.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
