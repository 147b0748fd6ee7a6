"""Time of the GitHub Action's own steps on the examples' data, from an empty folder and without caches.

    python -m benchmarks.bench_action [PYTHON]

The packages come from the index that pip and uv are configured for. What the runner does itself is not in it: it checks
the repositories out, and finds a Python that its image has.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.action_steps import ROOT, run_step

DATA = ("examples/chat", "examples/instruction", "examples/domain_adaptation", "examples/faq/faq.csv")
INHERITED = ("HOME", "PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")
"""Which variables say where packages come from."""


def main(python: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
    values = {"steps.python.outputs.python-path": python, "inputs.paths": "\n".join(DATA)}
    whole = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        empty = {"PIP_NO_CACHE_DIR": "1", "UV_CACHE_DIR": f"{temporary}/uv"}
        for name in ("Install", "Check"):
            before, started = _cpu_seconds(), time.monotonic()
            done = run_step(name, ROOT, Path(temporary), values, **kept, **empty)
            took = time.monotonic() - started
            whole += took
            print(f"{name}: {took:.1f} s, {_cpu_seconds() - before:.1f} s of CPU")
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
    print(f"both: {whole:.1f} s")


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else sys.executable)
