"""Two stages in one account: one in another CDK app, with that app's network, key and bucket; and one beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import cdk, jumpstart_cache, running
from rehearsal.running import Emulator
from tests.rehearsal.support import direct_deployment
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import WAIT_SCALE, settle

EXAMPLE = "examples/construct/app.py"
"""Its stage is `alice`, of which the name of the other one, `al`, is a part."""
STACKS = ("monitoring", "workflow", "network", "storage")
"""In the order in which they are deleted."""


@pytest.fixture
def account(tmp_path: Path, tiny_model: Path) -> Iterator[Emulator]:
    """Of its own: the other files share one stage, whose grants and calls are recorded."""
    started = running.start(tmp_path, tiny_model, wait_scale=WAIT_SCALE)
    yield started
    started.stop()


def test_two_stages_work_side_by_side_and_destroying_one_leaves_the_other(account: Emulator) -> None:
    emulator = account
    jumpstart_cache.fill(emulator)
    alice = product(emulator, direct_deployment.deploy(emulator, cdk.synthesised(app=EXAMPLE)))
    al = product(emulator, direct_deployment.deploy(emulator, cdk.synthesised(["stage=al", "profile=dev"])))
    platform = resources(emulator, "Platform")
    assert alice.uploads == platform["AWS::S3::Bucket"][0]
    assert al.uploads not in platform["AWS::S3::Bucket"]

    runs = {stage: stage.submit(b"".join(any_chats()), endpoint={"deploy": True}) for stage in (alice, al)}
    for stage, run_id in runs.items():
        status = stage.ended(run_id)
        assert status["state"] == "succeeded", status["error"]
    (job,) = alice.jobs_of(runs[alice])
    described = emulator.client("sagemaker").describe_training_job(TrainingJobName=job)
    assert set(described["VpcConfig"]["Subnets"]) <= set(platform["AWS::EC2::Subnet"])
    assert described["OutputDataConfig"]["KmsKeyId"].endswith(platform["AWS::KMS::Key"][0])

    destroy(emulator, *(f"finetune-al-{stack}" for stack in STACKS))

    assert [each["name"] for each in emulator.costing()] == [f"finetune-alice-{runs[alice]}"]
    again = alice.submit(b"".join(any_chats()))
    assert alice.ended(again)["state"] == "succeeded"
    destroy(emulator, "Application", *(f"finetune-alice-{stack}" for stack in STACKS))
    assert emulator.costing() == emulator.denials() == []
    s3 = emulator.client("s3")
    kept = s3.list_objects_v2(Bucket=alice.uploads)["Contents"]
    assert kept, "the bucket of the other app is neither emptied nor deleted with the stage"
    assert [
        name for name in (each["Name"] for each in s3.list_buckets()["Buckets"]) if name.startswith("finetune-")
    ] == []


def product(emulator: Emulator, outputs: dict[str, str]) -> Product:
    return Product(emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"])


def resources(emulator: Emulator, stack: str) -> dict[str, list[str]]:
    """Physical ids by type."""
    found: dict[str, list[str]] = {}
    for page in emulator.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack):
        for each in page["StackResourceSummaries"]:
            found.setdefault(each["ResourceType"], []).append(each["PhysicalResourceId"])
    return found


def destroy(emulator: Emulator, *stacks: str) -> None:
    cloudformation = emulator.client("cloudformation")
    for stack in stacks:
        id = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
        cloudformation.delete_stack(StackName=stack)
        assert settle(cloudformation, id, seconds=300) == "DELETE_COMPLETE"
