"""`finetune first-run` and `verify-aws`: from the question to the evidence, and every check red where AWS differs."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetuning.aws.clients import advisory_client, client
from finetuning_cli.live.account import account_checks
from finetuning_cli.live.assumptions import Observation, observed, open_assumptions
from finetuning_cli.live.budget import Meter
from finetuning_cli.live.checks import CHECKS, Moment
from finetuning_cli.live.evidence import Evidence
from finetuning_cli.live.first_run import COMPLETE, MODEL, FirstRun
from finetuning_cli.live.first_runs import FirstRuns
from finetuning_cli.live.removal import remove
from finetuning_cli.live.resources import StageResources
from finetuning_cli.live.stage_checks import UNPACKED_LIMIT
from finetuning_cli.stage.deployment import Deployment
from rehearsal.running import REGION, Emulator
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.terminal import Said, Terminal

STAGE, ACCOUNT = "dev", "000000000000"
LATER = 4_000_000_000
"""Seconds since 1970: no run of this test has a time in that year."""
GONE = {"EndpointArn": "arn", "EndpointConfigName": "any", "CreationTime": 0, "LastModifiedTime": 0}
Differs = tuple[str, dict[str, Any]]

DIFFERENT: dict[str, Differs] = {
    "model-documents": ("GET llama-3-2-1b-instruct/specs_v", {"replace": [["ml.g5.2xlarge", "ml.g6.2xlarge"]]}),
    "model-artefacts": ("HEAD sourcedir.tar.gz", {"status": 404}),
    "prices": ("GetProducts", {"merge": {"PriceList": []}}),
    "quota-names": ("ListServiceQuotas", {"merge": {"Quotas": []}}),
    "zones": ("DescribeVpcEndpointServices", {"replace": [["us-east-1a</item>", "us-east-1f</item>"]]}),
    "layer-size": ("GET find=LayerVersion", {"merge": {"Content": {"Location": "<too large>"}}}),
    "permissions": ("SimulatePrincipalPolicy", {"replace": [[">allowed<", ">implicitDeny<"]]}),
    "policies": (
        "policy/validation",
        {"merge": {"findings": [{"findingType": "ERROR", "issueCode": "INVALID_ACTION", "findingDetails": "typo"}]}},
    ),
    "upload-starts-run": ("DescribeExecution", {"merge": {"startDate": LATER}}),
    "gated-weights": ("DescribeTrainingJob", {"merge": {"TrainingJobStatus": "Failed"}}),
    "isolated-job": ("DescribeTrainingJob", {"merge": {"EnableNetworkIsolation": False}}),
    "model-location": ("DescribeTrainingJob", {"merge": {"ModelArtifacts": {"S3ModelArtifacts": "s3://other/"}}}),
    "model-encryption": ("HEAD output/model/", {"headers": {"x-amz-server-side-encryption-aws-kms-key-id": None}}),
    "metrics": ("DescribeTrainingJob", {"merge": {"FinalMetricDataList": []}}),
    "training-log": ("FilterLogEvents", {"merge": {"events": []}}),
    "billed-time": ("DescribeTrainingJob", {"merge": {"BillableTimeInSeconds": 99_999}}),
    "training-time": ("DescribeTrainingJob", {"merge": {"TrainingEndTime": LATER}}),
    "job-tags": ("ListTags training-job", {"merge": {"Tags": []}}),
    "endpoint-in-time": ("DescribeEndpoint", {"merge": {"LastModifiedTime": LATER}}),
    "evaluation-time": (
        "GET plan.json",
        {"merge": {"evaluation": {"estimate": {"seconds": -1000}}}, "headers": {"x-amz-checksum-crc32": None}},
    ),
    "endpoint-tags": ("ListTags endpoint", {"merge": {"Tags": []}}),
    "answer": ("POST /invocations?", {"merge": {"generated_text": ""}}),
    "streamed-answer": ("invocations-response-stream", {"status": 424, "body": "{}"}),
    "openai-chat": ("POST /openai/v1/chat/completions?", {"merge": {"choices": []}}),
    "openai-stream": ("POST /openai/v1/chat/completions?", {"headers": {"content-type": "text/event-stream"}}),
    "answer-ends": ("POST /invocations?", {"merge": {"generated_text": "Aye.<|eot_id|><|start_header_id|>user"}}),
    "invocation-metric": ("GetMetricStatistics", {"merge": {"Datapoints": []}}),
    "registered-model": ("DescribeModelPackage", {"merge": {"ModelApprovalStatus": "PendingManualApproval"}}),
    "update-in-place": ("DescribeEndpoint", {"merge": {"EndpointConfigName": "another"}}),
    "update-without-downtime": ("POST /invocations?", {"status": 500}),
    "rollback-alarms": ("DescribeEndpoint", {"merge": {"LastDeploymentConfig": None}}),
    "data-capture": ("GET list-type=2 capture", {"replace": [["Contents>", "Ignored>"]]}),
    "rollback": ("DescribeEndpoint", {"merge": {"EndpointConfigName": "another"}}),
    "capture-ends": (
        "DescribeEndpoint",
        {"merge": {"DataCaptureConfig": {"EnableCapture": True, "DestinationS3Uri": "s3://kept/capture"}}},
    ),
    "endpoint-deleted": (
        "DescribeEndpoint",
        {"status": 200, "headers": {"x-amzn-errortype": None}, "merge": {**GONE, "EndpointStatus": "Deleting"}},
    ),
    "nothing-left": (
        "ListEndpoints",
        {
            "merge": {
                "Endpoints": [{**GONE, "EndpointName": "finetune-dev-first-run-check", "EndpointStatus": "Failed"}]
            }
        },
    ),
}
"""Assumption → which of AWS's answers is different, and how (rehearsal/emulator/answers.py)."""


@dataclass
class Seen:
    """What a check saw, as AWS is assumed to be and as it is not."""

    assumed: Observation
    different: Observation


@pytest.fixture(scope="module")
def seen(product: Product) -> Iterator[dict[str, Seen]]:
    """The first runs, step by step in this process, with every check done twice. They share one pair of runs."""
    emulator = product.emulator
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        for clients in (client, advisory_client):
            clients.cache_clear()
        yield _see_everything(emulator)
    for clients in (client, advisory_client):
        clients.cache_clear()


def _see_everything(emulator: Emulator) -> dict[str, Seen]:
    deployment, found = Deployment.find(STAGE), StageResources.find(STAGE, ACCOUNT, REGION)
    (key,) = found.of_type("AWS::KMS::Key").values()
    runs = FirstRuns(deployment, key, patience=1, poll_seconds=0.5)
    first = FirstRun(runs, Meter(10, 1.0), REGION, MODEL, accept_eula=True, run_budget_usd=3, tell=print)
    account = account_checks(REGION, STAGE)
    seen = {id: _twice(emulator, id, partial(_of_account, id)) for id in account}
    first._serve()
    seen |= _at(emulator, Moment.SERVED, runs)
    first._update()
    seen |= _at(emulator, Moment.UPDATED, runs)
    first._roll_back()
    seen |= _at(emulator, Moment.ROLLED_BACK, runs)
    remove(deployment, print, poll_seconds=0.5)
    return seen | _at(emulator, Moment.REMOVED, runs)


def _at(emulator: Emulator, moment: Moment, runs: FirstRuns) -> dict[str, Seen]:
    checks = {id: check for id, (when, check) in CHECKS.items() if when is moment}
    return {id: _twice(emulator, id, partial(check, runs)) for id, check in checks.items()}


def _of_account(id: str) -> Observation:
    return observed(account_checks(REGION, STAGE)[id]())


def _twice(emulator: Emulator, id: str, observe: Callable[[], Observation]) -> Seen:
    assumed = observe()
    match, how = DIFFERENT[id]
    message = json.dumps(how).replace("<too large>", _too_large(emulator) if id == "layer-size" else "")
    emulator.inject("answer-differs", match, times=1000, message=message)
    try:
        return Seen(assumed, observe())
    finally:
        emulator.clear_faults()


def _too_large(emulator: Emulator) -> str:
    """The address of a zip that unpacks to more than a function may have."""
    archive, s3 = io.BytesIO(), emulator.client("s3")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("zeros", bytes(UNPACKED_LIMIT + 1))
    s3.create_bucket(Bucket="large-layer")
    s3.put_object(Bucket="large-layer", Key="layer.zip", Body=archive.getvalue())
    return f"{emulator.url}/large-layer/layer.zip"


def test_every_assumption_has_a_check_and_a_way_to_fail(seen: dict[str, Seen]) -> None:
    settled = {each.id for each in open_assumptions() if each.settled_by}
    assert settled == seen.keys() == DIFFERENT.keys()


@pytest.mark.parametrize("id", DIFFERENT)
def test_a_check_passes_as_assumed_and_does_not_if_aws_differs(seen: dict[str, Seen], id: str) -> None:
    assert seen[id].assumed.holds is True, seen[id]
    assert seen[id].different.holds is not True, seen[id]
    assert seen[id].different.seen != seen[id].assumed.seen


def test_iam_denies_a_call_of_a_role_whose_policy_was_changed(product: Product) -> None:
    """Without a fault: the emulator evaluates the role's real policies, with the call's condition keys."""
    emulator, terminal = product.emulator, Terminal(product.emulator, Path())
    role = product_role(emulator, "workflow.FunctionsStartTraining")
    deny = {"Effect": "Deny", "Action": "sagemaker:CreateTrainingJob", "Resource": "*",
            "Condition": {"StringEquals": {"sagemaker:NetworkIsolation": "true"}}}  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    emulator.client("iam").put_role_policy(RoleName=role, PolicyName="changed", PolicyDocument=document)
    try:
        said = terminal.finetune("verify-aws", "--json")
    finally:
        emulator.client("iam").delete_role_policy(RoleName=role, PolicyName="changed")
    failed = [check for check in said.json if check["assumption"] == "permissions" and check["ok"] is False]
    assert said.code == 1
    assert len(failed) == 1
    assert "IAM denies sagemaker:CreateTrainingJob on training-job/finetune-dev-" in failed[0]["message"]
    assert "(explicitDeny" in failed[0]["message"]


def product_role(emulator: Emulator, name: str) -> str:
    """The role of a function of the stage."""
    pages = emulator.client("cloudformation").get_paginator("list_stack_resources")
    stack, logical_id = name.split(".")
    return next(
        str(each["PhysicalResourceId"])
        for page in pages.paginate(StackName=f"finetune-dev-{stack}")
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::IAM::Role" and each["LogicalResourceId"].startswith(logical_id)
    )


def test_the_whole_first_run_leaves_evidence_and_nothing_else(product: Product, tmp_path: Path) -> None:
    said = _first_run(product, tmp_path, "--yes")
    evidence = _evidence(tmp_path)
    assert {each.id: each.result for each in evidence.assumptions} == {
        each.id: "holds" for each in open_assumptions() if each.settled_by
    }, said.printed
    assert (evidence.ended, evidence.left, evidence.emulated) == (COMPLETE, [], True)
    assert evidence.spent_usd <= evidence.estimate_usd <= evidence.budget_usd
    assert {step.step for step in evidence.steps} >= {
        "PlanRun", "ReframeParquet", "FinishDataset", "DescribeTraining", "ApproveDeployment", "DeployEndpoint",
        "AskBatch", "DeleteTemporaryEndpoint", "EvaluateAnswers", "RegisterModel", "ReportSuccess",
    }  # fmt: skip
    text = next(tmp_path.glob("*.json")).read_text()
    assert re.findall(r"\b\d{12}\b|arn:", text) == []
    _assert_nothing_is_left(product)


def test_a_no_starts_nothing(product: Product, tmp_path: Path) -> None:
    said = _first_run(product, tmp_path, answer="n\n")
    assert "Cost: up to " in said.printed
    assert (said.code, list(tmp_path.iterdir())) == (1, [])
    _assert_nothing_is_left(product)


def test_a_budget_below_the_estimate_starts_nothing(product: Product, tmp_path: Path) -> None:
    said = _first_run(product, tmp_path, "--yes", "--budget", "1")
    assert "BUDGET_TOO_SMALL" in said.printed
    assert (said.code, list(tmp_path.iterdir())) == (1, [])


def test_a_budget_that_is_spent_ends_it_and_removes_everything(product: Product, tmp_path: Path) -> None:
    """An endpoint that has been there for days is as expensive as it looks."""
    product.emulator.inject("endpoint-ages", "first-run-check", times=50, message="200")
    said = _first_run(product, tmp_path, "--yes")
    assert said.code == 1
    assert _evidence(tmp_path).ended.startswith("BUDGET_SPENT: The first run has cost about ")
    _assert_nothing_is_left(product)


def test_a_run_that_fails_ends_it_and_removes_everything(product: Product, tmp_path: Path) -> None:
    product.emulator.inject("job-fails", "first-run-check", message="CUDA is not what it was")
    said = _first_run(product, tmp_path, "--yes")
    evidence = _evidence(tmp_path)
    assert said.code == 1
    assert evidence.ended.startswith("TRAINING_FAILED: The run first-run-check-")
    assert {each.result for each in evidence.assumptions if each.id == "answer"} == {"could not be seen"}
    _assert_nothing_is_left(product)


def test_ctrl_c_ends_it_and_removes_everything(product: Product, tmp_path: Path) -> None:
    product.emulator.inject("job-hangs", "first-run-check")
    typed = Terminal(product.emulator, tmp_path).start("first-run", "--accept-eula", "--yes", "--evidence", ".")
    typed.until("Training on ")
    typed.interrupt()
    assert typed.said().code == 130
    assert _evidence(tmp_path).ended == "interrupted"
    _assert_nothing_is_left(product)


def _first_run(product: Product, folder: Path, *words: str, answer: str = "") -> Said:
    return Terminal(product.emulator, folder).finetune(
        "first-run", "--accept-eula", "--evidence", ".", *words, answer=answer
    )


def _evidence(folder: Path) -> Evidence:
    (path,) = folder.glob("*.json")
    return Evidence.model_validate_json(path.read_bytes())


def _assert_nothing_is_left(product: Product) -> None:
    """Looked up here without the command's own code."""
    emulator, ours = product.emulator, "first-run-check"
    assert [thing for thing in emulator.costing() if ours in thing["name"]] == []
    sagemaker, s3 = emulator.client("sagemaker"), emulator.client("s3")
    for listed in (
        sagemaker.list_models(NameContains=ours)["Models"],
        sagemaker.list_endpoint_configs(NameContains=ours)["EndpointConfigs"],
        sagemaker.list_model_package_groups(NameContains=ours)["ModelPackageGroupSummaryList"],
        emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"finetune-dev-{ours}")["MetricAlarms"],
        *(s3.list_object_versions(Bucket=bucket, Prefix=f"runs/{ours}").get("Versions", [])
          for bucket in (product.uploads, product.artifacts)),
    ):  # fmt: skip
        assert listed == []
