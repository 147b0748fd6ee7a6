"""Builders of a promotion: the stage that promotes, and a version that another account has registered."""

from typing import Any

from finetuning.runs.release import ARTEFACT_DIGEST, RELEASE_DIGEST, RUN, ModelFile, Release, release_digest
from tests.builders.runs import RUN_ID, any_plan

TRAINER, SOURCE_BUCKET = "111122223333", "models-of-dev"
PACKAGE = f"arn:aws:sagemaker:us-east-1:{TRAINER}:model-package/finetune-dev-faq/3"
LOCATION = f"s3://{SOURCE_BUCKET}/runs/{RUN_ID}/training/the-job/output/model/"
PROMOTE_FROM = {
    "promote_from": f"{TRAINER}/dev",
    "promote_from_bucket": SOURCE_BUCKET,
    "promote_from_key": f"arn:aws:kms:us-east-1:{TRAINER}:key/k",
}
SCORES = {"verdict": "helped", "rouge-l:tuned": "0.533"}


def any_release(*files: ModelFile, **changes: Any) -> Release:
    """A release of these files, or of one; `changes` are to its plan."""
    given = files or (ModelFile(name="model.safetensors", size=7, version_id="v1", checksum="CRC64NVME:abc="),)
    return Release.of(any_plan(**changes), "the-job", LOCATION, given, SCORES)


def any_package(release: Release, document: bytes, **changes: Any) -> dict[str, Any]:
    """DescribeModelPackage's response for an approved version; `changes` are to its properties."""
    properties = {
        RUN: RUN_ID,
        ARTEFACT_DIGEST: release.digest,
        RELEASE_DIGEST: release_digest(document),
        **changes,
    }
    source = {"S3DataSource": {"S3Uri": release.location, "S3DataType": "S3Prefix", "CompressionType": "None"}}
    return {
        "ModelPackageArn": PACKAGE,
        "ModelApprovalStatus": "Approved",
        "CustomerMetadataProperties": {name: value for name, value in properties.items() if value},
        "InferenceSpecification": {"Containers": [{"ModelDataSource": source}]},
    }
