"""`make bench-imports`: how much CPU the import of each handler takes, beside boto3 alone in the same run.

A cold start is mostly this. Every import is a process of its own, with compiled modules as in the layer and the
environment of a function, which decides what the X-Ray SDK and Pydantic load. Handlers and boto3 take turns, and the
least of the rounds counts, because a busy machine can only add to it.
"""

import os
import subprocess
import sys
from pathlib import Path

from finetuning_cdk.constructs.workflow_function import NO_PLUGINS

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = ROOT / "lambda" / "finetuning" / "handlers"
ROUNDS = 5
LAMBDA = {
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_REGION": "us-east-1",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    **NO_PLUGINS,
}


def import_seconds(python: str, module: str) -> float:
    """CPU seconds of a process that imports the module, with the interpreter's own start."""
    program = f"import {module}, time; print(time.process_time())"
    path = os.pathsep.join(filter(None, (str(ROOT / "lambda"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **LAMBDA, "PYTHONPATH": path}
    run = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return float(run.stdout)


def main() -> None:
    """The first argument is another interpreter than this one, whose packages are in PYTHONPATH."""
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    handlers = sorted(path.stem for path in HANDLERS.glob("[a-z]*.py") if path.stem != "step")
    modules = ["sys", "boto3", *(f"finetuning.handlers.{handler}" for handler in handlers)]
    least = dict.fromkeys(modules, float("inf"))
    for _ in range(ROUNDS):
        for module in modules:
            least[module] = min(least[module], import_seconds(python, module))
    start, boto3, *seconds = least.values()
    print(f"{'boto3 alone':28} {(boto3 - start) * 1000:5.0f} ms")
    for handler, total in zip(handlers, seconds, strict=True):
        ratio = (total - start) / (boto3 - start)
        print(f"{handler:28} {(total - start) * 1000:5.0f} ms  {ratio:.1f} ×")


if __name__ == "__main__":
    main()
