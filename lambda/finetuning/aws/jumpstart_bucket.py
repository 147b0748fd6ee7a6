"""JumpStart's public bucket: the manifest, the specifications, and whether the objects they name exist."""

from typing import Any

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import DENIED, error_code, translate_errors
from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.catalogue import support
from finetuning.jumpstart.spec import (
    MANIFEST_KEY,
    ModelSpec,
    cache_bucket,
    newest,
    private_bucket,
    read_manifest,
    read_spec,
    spec_key,
)
from finetuning.settings import settings

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})


class JumpStartBucket:
    """The bucket of one region. Raises the errors of `translate_errors`."""

    def __init__(self, s3: Any, region: str) -> None:
        self._s3 = s3
        self.region = region

    def spec(self, model_id: str, version: str | None = None) -> ModelSpec:
        """The model's facts, of the given version, or of the one in the catalogue.

        Raises `FineTuningError` (MODEL_UNKNOWN, MODEL_SPEC_UNUSABLE).
        """
        key = spec_key(model_id, version or support(model_id).version)
        return read_spec(self._read(key, f"JumpStart's specification of {model_id}"), model_id)

    def newest_version(self, model_id: str) -> str:
        """The highest version in the manifest. Raises `FineTuningError` (MODEL_UNKNOWN) if there is none."""
        entry = newest(read_manifest(self._read(MANIFEST_KEY, "JumpStart's manifest")), model_id)
        if entry is None:
            raise FineTuningError(
                Code.MODEL_UNKNOWN,
                f"JumpStart does not offer the model {model_id} in {self.region}.",
                "Choose another model, or deploy the stacks in a region that offers it.",
                field="model",
            )
        return entry.version

    def has(self, bucket: str, key: str) -> bool | None:
        """Whether the object exists, or anything below a prefix that ends in `/`; None if this role may not look."""
        with translate_errors(f"look for s3://{bucket}/{key}"):
            try:
                if key.endswith("/"):
                    return bool(self._s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount"))
                self._s3.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if error_code(error) in ABSENT:
                    return False
                if error_code(error) in DENIED:
                    return None
                raise
        return True

    def artefacts(self, spec: ModelSpec, training_types: list[str]) -> dict[tuple[str, str], str]:
        """What a run of the model needs from JumpStart's buckets: (bucket, key) → what it is."""
        gated = {
            (private_bucket(self.region), spec.gated_key(instance_type)): f"weights for {instance_type}"
            for instance_type in training_types
        }
        return {(cache_bucket(self.region), spec.code_key): "training script"} | gated

    def _read(self, key: str, what: str) -> bytes:
        bucket = cache_bucket(self.region)
        with translate_errors(f"read s3://{bucket}/{key}"):
            try:
                body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            except ClientError as error:
                if error_code(error) not in ABSENT:
                    raise
                raise FineTuningError(
                    Code.MODEL_SPEC_UNUSABLE,
                    f"{what} not found: s3://{bucket}/{key}.",
                    "Set model_version to one that JumpStart offers in this region, or choose another model. "
                    "`finetune verify-aws` lists the newest versions.",
                    field="model",
                ) from error
        return body


def read_model_spec(model_id: str, version: str | None = None) -> ModelSpec:
    """The model's facts in this function's region."""
    return jumpstart_bucket().spec(model_id, version)


def jumpstart_bucket() -> JumpStartBucket:
    return JumpStartBucket(client("s3"), settings().aws_region)
