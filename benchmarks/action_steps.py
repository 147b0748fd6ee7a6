"""The steps of action.yml, run by bash as GitHub's runner runs them."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"] if "name" in step}


def run_step(
    name: str, workspace: Path, temporary: Path, values: Mapping[str, str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """`values`: what the step's expressions, such as `inputs.paths`, stand for; inputs that are left out have their
    defaults.
    """
    given = {f"inputs.{name}": str(each.get("default", "")) for name, each in ACTION["inputs"].items()} | values
    expressions = {
        variable: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: given[found[1]], value)
        for variable, value in STEPS[name]["env"].items()
    }
    runner = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_WORKSPACE": str(workspace), "RUNNER_TEMP": str(temporary)}
    return subprocess.run(  # noqa: S603  # our own steps
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]],  # noqa: S607
        cwd=workspace,
        env={"PATH": os.environ["PATH"], **environment, **runner, **expressions},
        capture_output=True,
        text=True,
        check=False,
    )
