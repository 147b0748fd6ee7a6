"""The real `cdk deploy --all`, a run under way, the real `cdk destroy --all`: and nothing is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import cdk, jumpstart_cache, running
from rehearsal.running import Emulator
from tests.rehearsal.support.product import Product, any_chats

WORKFLOW = "finetune-dev-workflow"


@pytest.fixture
def own_emulator(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Emulator]:
    """One of its own: the stage that the other tests share has to stay."""
    started = running.start(tmp_path_factory.mktemp("destroyed"), tiny_model, wait_scale=0.4)
    yield started
    started.stop()


def test_a_stage_is_destroyed_amid_a_training_and_nothing_is_left(own_emulator: Emulator) -> None:
    jumpstart_cache.fill(own_emulator)
    cdk.deploy(own_emulator, ["stage=dev"])
    described = own_emulator.client("cloudformation").describe_stacks(StackName=WORKFLOW)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    product = Product(
        own_emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"]
    )
    run_id = product.submit(b"".join(any_chats()), hyperparameters={"epoch": 900, "max_input_length": 128})
    product.until(run_id, lambda _: "InProgress" in product.jobs_of(run_id).values())

    cdk.destroy(own_emulator, ["stage=dev"])

    assert own_emulator.costing() == []
    sagemaker = own_emulator.client("sagemaker")
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == sagemaker.list_models()["Models"] == []
    stacks = own_emulator.client("cloudformation").list_stacks()["StackSummaries"]
    assert {stack["StackStatus"] for stack in stacks if stack["StackName"].startswith("finetune-")} == {
        "DELETE_COMPLETE"
    }
    buckets = [bucket["Name"] for bucket in own_emulator.client("s3").list_buckets()["Buckets"]]
    assert not [name for name in buckets if name.startswith("finetune-")]
