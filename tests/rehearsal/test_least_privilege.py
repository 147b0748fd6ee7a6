"""Every role may do what it does, and does what it may: judged from the calls of all the tests before these."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name, invoke

REASONS = Path(__file__).with_name("unused_grants.toml")


def test_a_file_in_the_inbox_is_a_run(product: Product) -> None:
    product.emulator.inject("capacity", times=20)  # the job need not be trained
    status = product.ended(product.put(f"inbox/{any_name('file')}.jsonl", b"".join(any_chats())).run_id)
    assert status["state"] == "failed"


def test_when_the_stage_goes_all_that_runs_made_goes_first(product: Product) -> None:
    """As CloudFormation calls it, amid a training. Only the judgements come after."""
    run_id = product.submit(b"".join(any_chats()), hyperparameters={"epoch": 900, "max_input_length": 128})
    product.until(run_id, lambda _: "InProgress" in product.jobs_of(run_id).values())
    emulator, bucket = product.emulator, any_name("answers")
    s3, sagemaker = emulator.client("s3"), emulator.client("sagemaker")
    s3.create_bucket(Bucket=bucket)
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "answer"})
    event = {
        "RequestType": "Delete",
        "ResponseURL": url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Runs",
        "ResourceProperties": {
            "StateMachineArn": product.state_machine,
            "EmptyBuckets": [product.uploads, product.artifacts],
        },
    }
    functions = emulator.client("lambda").get_paginator("list_functions").paginate()
    (remove,) = (f["FunctionName"] for page in functions for f in page["Functions"] if ".remove_runs." in f["Handler"])
    invoke(emulator, remove, event)
    answer = json.loads(s3.get_object(Bucket=bucket, Key="answer")["Body"].read())
    assert (answer["Status"], answer["Reason"]) == ("SUCCESS", "")
    assert [thing for thing in emulator.costing() if thing["name"].startswith("finetune-dev-")] == []
    for entries in (sagemaker.list_models()["Models"], sagemaker.list_endpoint_configs()["EndpointConfigs"]):
        assert not [entry for entry in entries if "finetune-dev-" in str(entry)]
    states = emulator.client("stepfunctions")
    running = states.list_executions(stateMachineArn=product.state_machine, statusFilter="RUNNING")
    assert running["executions"] == []
    assert sagemaker.list_model_package_groups(NameContains="finetune-dev-")["ModelPackageGroupSummaryList"] == []
    assert "Contents" not in s3.list_objects_v2(Bucket=product.artifacts)


def test_no_role_of_the_product_was_refused_anything(product: Product) -> None:
    assert [call for call in product.emulator.denials() if "finetune-" in call["caller"] + call["resource"]] == []


@pytest.mark.usefixtures("whole_suite")
def test_every_grant_is_used_or_has_its_reason(product: Product) -> None:
    unused = [grant for grant in granted(product) if not grant["used"]]
    without = [described(grant) for grant in unused if not any(covers(reason, grant) for reason in reasons())]
    assert not without, "\n".join(without)


@pytest.mark.usefixtures("whole_suite")
def test_no_reason_is_given_for_a_grant_that_is_used_or_gone(product: Product) -> None:
    grants = granted(product)
    stale = [
        f"{reason['reason']}: {action}"
        for reason in reasons()
        for action in reason["actions"]
        if not [g for g in grants if covers({**reason, "actions": [action]}, g)]
        or (
            not reason.get("sometimes") and any(g["used"] for g in grants if covers({**reason, "actions": [action]}, g))
        )
    ]
    assert not stale, "\n".join(stale)


def granted(product: Product) -> list[dict[str, Any]]:
    """The grants of the stage's roles, each role by the name of its function or purpose."""
    ours = [grant for grant in product.emulator.grants() if grant["role"].startswith("finetune-")]
    return [{**grant, "role": short(grant["role"])} for grant in ours]


def short(role: str) -> str:
    """`finetune-dev-workflow-FunctionsPlanRunRole39C0…` is PlanRun. CloudFormation cuts names to 64 characters: of some
    only the beginning is left.
    """
    name = re.sub(r"^finetune-\w+-\w+-(Functions)?", "", role)
    return re.split(r"(?:R(?:o(?:le?)?)?)?[0-9A-F]{8}", name)[0]


def reasons() -> list[dict[str, Any]]:
    reasons: list[dict[str, Any]] = tomllib.loads(REASONS.read_text())["unused"]
    return reasons


def covers(reason: dict[str, Any], grant: dict[str, Any]) -> bool:
    return (
        grant["action"] in reason["actions"]
        and ("roles" not in reason or any(role.startswith(grant["role"]) for role in reason["roles"]))
        and reason.get("on", "") in grant["resource"]
        and reason.get("when", "") in grant["condition"]
    )


def described(grant: dict[str, Any]) -> str:
    return f"{grant['role']}: {grant['action']} on {grant['resource']} when {grant['condition']}"
