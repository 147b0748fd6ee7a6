"""Both stages follow the security rules, with the exceptions of dev that infra/finetuning_cdk/config.py sets."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.rules import RULES, Deployed, Rule, broken
from tests.infra.synthesis import ROOT, Synthesised
from tests.shared import SHARED

SECURITY_BAR = SHARED / "checks" / "security_bar.py"

DIFFERS_IN_DEV = {4: "keep_data", 13: "keep_data", 28: "interface_endpoints", 33: "control_functions_in_vpc"}
"""Rules that dev breaks on purpose, and the setting responsible."""


def templates(stage: Synthesised) -> list[dict[str, Any]]:
    return [template.to_json() for template in stage.templates.values()]


@pytest.fixture(scope="module")
def deployed(prod: Synthesised) -> Deployed:
    return Deployed(templates(prod))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_prod_follows_every_rule(rule: Rule, deployed: Deployed) -> None:
    assert list(rule.offenders(deployed)) == [], rule.sentence


def test_prod_that_imports_models_follows_every_rule(importing: Synthesised) -> None:
    assert broken(templates(importing)) == {}


def test_stages_that_promote_models_follow_every_rule(promoting: Synthesised, releasing: Synthesised) -> None:
    assert broken(templates(promoting)) == {}
    assert broken(templates(releasing)).keys() == DIFFERS_IN_DEV.keys()


def test_dev_breaks_only_the_rules_that_its_settings_turn_off(dev: Synthesised) -> None:
    assert broken(templates(dev)).keys() == DIFFERS_IN_DEV.keys()
    for setting in DIFFERS_IN_DEV.values():
        assert getattr(dev.settings, setting) is False


def test_every_rule_is_documented_with_its_number_and_sentence() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    documented = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE))
    for each in RULES:
        assert documented.get(str(each.number), "").strip() == each.sentence
    elsewhere = documented.keys() - {str(each.number) for each in RULES}
    assert elsewhere == {"38", "39"}  # about requests: tests/contract checks them
    assert re.findall(r"(\d+) rules", (ROOT / "README.md").read_text()) == [str(len(RULES))]


@pytest.mark.skipif(not SECURITY_BAR.is_file(), reason="the reference files are missing beside this checkout")
def test_prod_meets_the_reference_security_checks(prod: Synthesised, tmp_path: Path) -> None:
    judged = tmp_path / "bar.json"
    command = [sys.executable, str(SECURITY_BAR), str(prod.folder), "--json", str(judged)]
    subprocess.run(command, capture_output=True, timeout=240)
    rows = json.loads(judged.read_text())
    failed = {row["id"]: row["offenders"] for row in rows if row["status"] == "FAIL"}
    assert failed.pop("SB28") == ["sts", "ecr.api", "ecr.dkr"]  # nobody calls them from the network: rule 28
    (offender,) = failed.pop("SB33")
    assert "RemoveRuns" in offender  # it waits until the network interfaces of all others are gone: rule 33
    assert failed == {}
    # The state machine starts no job itself: functions do, with the same limits in IAM (rules 21 and 22).
    assert [row["id"] for row in rows if row["status"] == "N/A"] == ["SB38", "SB39"]
