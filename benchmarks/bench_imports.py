"""`make bench-imports`: how much CPU the import of each handler takes, beside boto3 alone in the same run.

A cold start is mostly this. Every import is a process of its own, with compiled modules as in the layer; the least of
three counts, because a busy machine can only add to it.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = ROOT / "lambda" / "finetuning" / "handlers"
GOAL = 1.5
TRIES = 3


def import_seconds(module: str) -> float:
    """CPU seconds of a process that imports the module, with the interpreter's own start."""
    program = f"import {module}, time; print(time.process_time())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lambda")}
    command = [sys.executable, "-c", program]
    runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(TRIES)]  # noqa: S603
    return min(float(run.stdout) for run in runs)


def main() -> None:
    start = import_seconds("sys")
    boto3 = import_seconds("boto3") - start
    print(f"{'boto3 alone':28} {boto3 * 1000:5.0f} ms")
    for handler in sorted(path.stem for path in HANDLERS.glob("[a-z]*.py")):
        seconds = import_seconds(f"finetuning.handlers.{handler}") - start
        above = "" if seconds <= GOAL * boto3 else f"  over {GOAL} ×"
        print(f"{handler:28} {seconds * 1000:5.0f} ms  {seconds / boto3:.1f} ×{above}")


if __name__ == "__main__":
    main()
