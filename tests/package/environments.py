"""Empty environments, in which the wheel is installed and used as its users do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "build" / "dist"
KEPT = ("PATH", "LANG", "PIP_", "JSII_")
"""Which variables a command inherits: how to find programs and packages, and nothing of an account."""
EXAMPLE = ROOT / "examples" / "construct" / "app.py"


def built_wheel() -> Path:
    """Raises `AssertionError` unless there is exactly one."""
    found = sorted(DIST.glob("*.whl"))
    assert len(found) == 1, "Run `make package`, which builds it."
    return found[0]


def installed(folder: Path, *requirements: str) -> Path:
    """Makes an environment with nothing but Python and installs the wheel, with its extras, and other requirements."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # -I: metadata beside the sources, on PYTHONPATH, would pass for an installation.
    pip = [folder / "bin" / "python", "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True)
    return folder


def run(environment: Path, *words: str, home: Path, check: bool = True, **variables: str) -> str:
    """Standard output of a command of the environment, in an empty home and with nothing of the checkout in sight."""
    kept = {name: os.environ[name] for name in os.environ if name.startswith(KEPT)}
    settings = {"HOME": str(home), "COLUMNS": "120", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
    command = [environment / "bin" / words[0], *words[1:]]
    done = subprocess.run(
        command, cwd=home, env=kept | settings | variables, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout
