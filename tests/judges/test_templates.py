"""External validators on the templates of both stages, with and without options. Slow: `make check` runs them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cdk_nag import AwsSolutionsChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks, ServerlessChecks

from finetuning_cdk.config import PROFILES
from rehearsal import cdk
from tests.infra.rules import Deployed, broken
from tests.infra.synthesis import EVERY_OPTION, ROOT, Synthesised, synthesise

AUDIT = ROOT / ".venv-audit" / "bin"
"""checkov and parliament: their pins exclude the project's, so they have an environment of their own."""
TOOLS = Path(sys.executable).parent
PACKS = (AwsSolutionsChecks, ServerlessChecks, HIPAASecurityChecks, NIST80053R5Checks, PCIDSS321Checks)

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dev": ("dev", {}),
    "prod": ("prod", {}),
    "dev with every option": ("dev", EVERY_OPTION),
    "prod with every option": ("prod", EVERY_OPTION),
}

CONTEXT_OF_THE_CLI: Mapping[str, Any] = {
    "aws:cdk:enable-path-metadata": True,
    "aws:cdk:enable-asset-metadata": True,
    "aws:cdk:bundling-stacks": ["**"],
}

CHECKOV_ACCEPTED: Mapping[str, str] = {
    "CKV_AWS_27": "The dead-letter queue is encrypted with SQS's own keys; the check knows customer keys only",
    "CKV_AWS_18": "The bucket that receives the access logs cannot log its own accesses there",
    "CKV_AWS_117": "RemoveRuns waits until the network interfaces of all other functions are gone",
}
CHECKOV_ACCEPTED_WITHOUT: Mapping[str, Mapping[str, str]] = {
    "control_functions_in_vpc": {"CKV_AWS_117": "Functions without data call AWS APIs from outside the VPC"},
    "reserve_concurrency": {"CKV_AWS_115": "A new account has no concurrency to reserve"},
}
PARLIAMENT_ACCEPTED: Mapping[str, str] = {
    "Unknown condition sagemaker:OutputKmsKeyArn for action sagemaker:CreateTrainingJob": (
        "Its copy of the AWS reference is older than this key, which replaced sagemaker:OutputKmsKey"
    ),
    "[{'action': 'states:ListExecutions', 'required_format': 'arn:*:states:*:*:mapRun:*/*:*'}]": (
        "The reference requires both a state machine and a map run, for an API that takes one of the two"
    ),
    "[{'action': 'states:DescribeExecution', 'required_format': 'arn:*:states:*:*:express:*:*:*'}]": (
        "The reference requires both standard and express executions: this machine has only standard ones"
    ),
    "Unknown action sagemaker:CallWithBearerToken": (
        "Its copy of the AWS reference is older than the action, which AWS documents for OpenAI-compatible endpoints"
    ),
}

ARNS: Mapping[str, str] = {
    "AWS::S3::Bucket": "arn:aws:s3:::{}",
    "AWS::KMS::Key": "arn:aws:kms:us-east-1:123456789012:key/{}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:{}",
    "AWS::SQS::Queue": "arn:aws:sqs:us-east-1:123456789012:{}",
    "AWS::SNS::Topic": "arn:aws:sns:us-east-1:123456789012:{}",
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{}",
    "AWS::Logs::LogGroup": "arn:aws:logs:us-east-1:123456789012:log-group:{}:*",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:us-east-1:123456789012:stateMachine:{}",
}
PSEUDO_PARAMETERS = {"AWS::Region": "us-east-1", "AWS::AccountId": "123456789012", "AWS::Partition": "aws"}


Synthesise = Callable[[str], Synthesised]


@pytest.fixture(scope="session")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> Synthesise:
    """Synthesises a variant, each once."""

    @cache
    def once(name: str) -> Synthesised:
        stage, options = VARIANTS[name]
        return synthesise(stage, tmp_path_factory.mktemp("variant"), **options)

    return once


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest, synthesised: Synthesise) -> Synthesised:
    return synthesised(request.param)


@pytest.fixture
def templates(variant: Synthesised) -> list[str]:
    return sorted(map(str, variant.folder.glob("*.template.json")))


def test_cfn_lint_reports_nothing(templates: list[str]) -> None:
    verdict = subprocess.run([TOOLS / "cfn-lint", *templates], capture_output=True, text=True, timeout=600)
    assert verdict.stdout + verdict.stderr == ""


@pytest.mark.parametrize("stage", PROFILES)
def test_two_syntheses_are_equal(stage: str, tmp_path: Path) -> None:
    """That of `make synth`, by the CDK CLI, and one in this process with the context that the CLI adds."""
    again = synthesise(stage, tmp_path, **CONTEXT_OF_THE_CLI)
    assert templates_in(cdk.synthesised([f"stage={stage}"])) == templates_in(again.folder)


def templates_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.template.json")}


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.__name__)
def test_every_finding_of_cdk_nag_is_acknowledged(variant: Synthesised, pack: type[AwsSolutionsChecks]) -> None:
    report = pack().validate_scope(variant.stage)
    assert [v.rule_name + r.construct_path for v in report.violations for r in v.violating_resources] == []


def test_the_security_rules_hold_with_and_without_options(variant: Synthesised) -> None:
    found = broken(template.to_json() for template in variant.templates.values())
    expected = {4: "keep_data", 13: "keep_data", 28: "interface_endpoints", 33: "control_functions_in_vpc"}
    assert found.keys() == {number for number, switch in expected.items() if not getattr(variant.settings, switch)}, (
        found
    )


@pytest.mark.skipif(not AUDIT.is_dir(), reason="run `make .venv-audit/.ready`")
def test_checkov_reports_only_accepted_findings(variant: Synthesised) -> None:
    command = [
        AUDIT / "checkov",
        "--directory",
        variant.folder,
        "--framework",
        "cloudformation",
        "--skip-path",
        "asset",
    ]
    flags = ["--skip-download", "--compact", "--quiet", "--output", "json"]
    verdict = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=900)
    results = json.loads(verdict.stdout)
    # It takes the template's path for a function's variable, and 40 characters in a row for a secret.
    its_own = ["Properties/Environment/Variables/__file__"]
    failed = [c for c in results["results"]["failed_checks"] if c["check_result"]["evaluated_keys"] != its_own]
    found = Counter(check["check_id"] for check in failed)
    several = {
        check
        for switch, checks in CHECKOV_ACCEPTED_WITHOUT.items()
        if not getattr(variant.settings, switch)
        for check in checks
    }
    assert results["summary"]["passed"] > 300
    reported = [(c["check_id"], c["resource"], c["check_result"]) for c in failed]
    assert found.keys() == CHECKOV_ACCEPTED.keys() | several, reported
    assert all(found[check] == 1 for check in CHECKOV_ACCEPTED.keys() - several), found


@pytest.mark.skipif(not AUDIT.is_dir(), reason="run `make .venv-audit/.ready`")
def test_parliament_accepts_every_action_resource_and_condition(variant: Synthesised, tmp_path: Path) -> None:
    deployed = Deployed(template.to_json() for template in variant.templates.values())
    policies = deployed.of("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy")
    for id, policy in policies.items():
        (tmp_path / f"{id}.json").write_text(concrete(json.dumps(policy["PolicyDocument"]), deployed))
    command = [AUDIT / "parliament", "--directory", tmp_path, "--include_policy_extension", "json", "--json"]
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}  # setuptools warns of what parliament imports
    verdict = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=600)
    assert verdict.stderr == ""
    findings = [json.loads(line) for line in verdict.stdout.splitlines()]
    assert len(policies) > 15
    assert {str(finding["detail"]) for finding in findings} == set(PARLIAMENT_ACCEPTED), verdict.stdout


def concrete(document: str, deployed: Deployed) -> str:
    """The policy with plausible ARNs and names for its references."""

    def value(reference: re.Match[str]) -> str:
        name, _, _ = reference[1].partition(".")
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        return ARNS.get(deployed.resources[name]["Type"], "{}").format(name.lower())

    return re.sub(r"<([\w:]+(?:\.\w+)?)>", value, document)
