"""The app as users run it, and what judges its templates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks, ServerlessChecks

from tests.infra.synthesis import ROOT, Synthesised, context_of
from tests.shared import SHARED

SECURITY_BAR = SHARED / "checks" / "security_bar.py"
RULE_PACKS = (AwsSolutionsChecks, ServerlessChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks)


def run_app(stage: str, folder: Path, **environment: str) -> dict[str, bytes]:
    """Runs app.py as the CDK command does; returns the templates by file name."""
    subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": "lambda",
            "CDK_OUTDIR": str(folder),
            "CDK_CONTEXT_JSON": json.dumps(context_of(stage)),
            **environment,
        },
        check=True,
        capture_output=True,
        timeout=240,
    )
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.template.json"))}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_app_synthesises_to_the_same_bytes_twice(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    first: Synthesised = request.getfixturevalue(name)
    again = run_app(name, tmp_path, PYTHONHASHSEED="7")
    assert {path.name: path.read_bytes() for path in first.folder.glob("*.template.json")} == again


@pytest.mark.parametrize("pack", RULE_PACKS, ids=lambda pack: pack.__name__)
def test_no_finding_of_cdk_nag_is_left_open(pack: type[AwsSolutionsChecks], stage: Synthesised) -> None:
    report = pack().validate_scope(stage.stage)
    assert [
        f"{violation.rule_name} {resource.construct_path}"
        for violation in report.violations
        for resource in violation.violating_resources
    ] == []


def test_cfn_lint_has_nothing_to_say(stage: Synthesised) -> None:
    templates = sorted(map(str, stage.folder.glob("*.template.json")))
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    verdict = subprocess.run([cfn_lint, *templates], capture_output=True, text=True, timeout=240)
    assert verdict.stdout + verdict.stderr == ""


@pytest.mark.skipif(not SECURITY_BAR.is_file(), reason="the reference files are not beside this checkout")
def test_prod_holds_every_sentence_of_the_security_bar(prod: Synthesised, tmp_path: Path) -> None:
    judged = tmp_path / "bar.json"
    command = [sys.executable, str(SECURITY_BAR), str(prod.folder), "--json", str(judged)]
    subprocess.run(command, capture_output=True, timeout=240)
    rows = json.loads(judged.read_text())
    assert [row for row in rows if row["status"] == "FAIL"] == []
    # The state machine starts no job itself: functions do, held to the same by IAM (sentences 21 and 22).
    assert [row["id"] for row in rows if row["status"] == "N/A"] == ["SB38", "SB39"]
