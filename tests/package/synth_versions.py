"""`make synth-versions`: the example app with several releases of aws-cdk-lib, each in an environment of its own.

The oldest is the one that pyproject.toml accepts, the newest the one that is locked and tested.
"""

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.package.environments import EXAMPLE, ROOT, built_wheel, installed, run

BETWEEN = "2.274.0"
NO_BUNDLING = '{"aws:cdk:bundling-stacks": []}'


def versions() -> list[str]:
    (oldest,) = re.findall(r"aws-cdk-lib >=([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (newest,) = re.findall(
        r"^aws-cdk-lib==([\d.]+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [f"{oldest}.0", BETWEEN, newest]


def stacks_with(version: str) -> Iterator[str]:
    """The stacks that the example makes. Raises `AssertionError` with what the app printed, if it fails."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        environment = installed(home / "venv", f"{built_wheel()}[cdk]", f"aws-cdk-lib=={version}")
        run(environment, "python", str(EXAMPLE), home=home, CDK_OUTDIR=str(home / "out"), CDK_CONTEXT_JSON=NO_BUNDLING)
        yield from (path.name.partition(".")[0] for path in sorted((home / "out").glob("*.template.json")))


if __name__ == "__main__":
    for version in versions():
        started = time.monotonic()
        made = list(stacks_with(version))
        assert len(made) == 6, made
        print(f"aws-cdk-lib {version}: {len(made)} stacks, {time.monotonic() - started:.0f} s with the installation")
