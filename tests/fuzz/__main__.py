"""`python -m tests.fuzz --seconds 600 [--seed N]`: makes broken files until the time is up or one is mishandled.

The file that was mishandled is kept, and the seed that makes it is printed.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.broken_files import Mishandled, try_file


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()) << 20)
    options = parser.parse_args()
    until, seed, lines = time.monotonic() + options.seconds, options.seed, 0
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
                print(f"\r{seed - options.seed:,} files, {lines:,} lines, {left:.0f} s left ", end="", flush=True)
    print(f"\r{seed - options.seed:,} files, {lines:,} lines: no crash, no untyped error, no lost line.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
