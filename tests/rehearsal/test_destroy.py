"""The real `cdk deploy --all`, runs, the real `cdk destroy --all`: and nothing is left.

Lambda keeps the network interfaces of the deleted functions for a while, as on AWS.
"""

from collections.abc import Callable
from pathlib import Path

from rehearsal import cdk, jumpstart_cache
from rehearsal.running import Emulator
from tests.rehearsal.support.grants import Record
from tests.rehearsal.support.product import Product, any_chats

WORKFLOW = "finetune-dev-workflow"


def test_a_stage_is_destroyed_during_a_training_and_nothing_is_left(
    start_emulator: Callable[[], Emulator], templates: Path, record: Record
) -> None:
    """On an emulator of its own, because the other files share one stage."""
    emulator = start_emulator()
    jumpstart_cache.fill(emulator)
    cdk.deploy(emulator, templates)
    described = emulator.client("cloudformation").describe_stacks(StackName=WORKFLOW)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
    product = Product(emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"])
    served = product.ended(product.submit(b"".join(any_chats()), endpoint={"deploy": True}))
    assert served["state"] == "succeeded", served["error"]
    imported = product.ended(product.submit(b"".join(any_chats()), endpoint={"deploy": True, "target": "bedrock"}))
    assert imported["state"] == "succeeded", imported["error"]
    product.submit_training()
    record.add(emulator.grants())  # of the roles, before they are deleted
    emulator.inject("late-interfaces", match="finetune-dev", times=100)

    cdk.destroy(emulator, templates)

    assert {each["fault"] for each in emulator.happened()} >= {"late-interfaces"}
    assert emulator.costing() == []
    sagemaker = emulator.client("sagemaker")
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == sagemaker.list_models()["Models"] == []
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    stacks = emulator.client("cloudformation").list_stacks()["StackSummaries"]
    assert {stack["StackStatus"] for stack in stacks if stack["StackName"].startswith("finetune-")} == {
        "DELETE_COMPLETE"
    }
    buckets = [bucket["Name"] for bucket in emulator.client("s3").list_buckets()["Buckets"]]
    assert not [name for name in buckets if name.startswith("finetune-")]
