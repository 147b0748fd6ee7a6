"""The files of tuned models in S3, with the checksums that S3 keeps of them, and copies of them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from boto3.s3.transfer import TransferConfig

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.aws.s3_streams import MAX_COPY_BYTES
from finetuning.runs.release import ModelFile

LARGEST_COPY = 5_000_000_000
"""Bytes that CopyObject copies; a larger file is copied in parts (API reference of CopyObject)."""
AT_ONCE = 10
"""Files that are copied or looked at at a time, and parts of each."""
CHECKSUM = "Checksum"
WHOLE = "CRC64NVME"
"""The checksum that S3 adds itself, and the only one of a whole file that it can make of a copy in parts without being
given the checksums of the parts.
"""


class ModelFiles:
    """A tuned model's files: `location` is an S3 URI that ends in `/`. Raises the errors of `translate_errors`."""

    def __init__(self, location: str) -> None:
        self._s3 = client("s3")
        self.location = location
        self._bucket, _, self._prefix = location.removeprefix("s3://").partition("/")

    def described(self) -> list[ModelFile]:
        """Every file as it is now, by its name."""
        with translate_errors(f"list {self.location}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            names = [each["Key"].removeprefix(self._prefix) for page in pages for each in page.get("Contents", [])]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._describe, sorted(names)))

    def _describe(self, name: str) -> ModelFile:
        with translate_errors(f"look up {self.location}{name}"):
            head = self._s3.head_object(Bucket=self._bucket, Key=self._prefix + name, ChecksumMode="ENABLED")
        return ModelFile(
            name=name,
            size=head["ContentLength"],
            version_id=head.get("VersionId", ""),
            checksum=_checksum(head),
        )

    def copy_from(self, source: str, files: Sequence[ModelFile], kms_key_arn: str) -> None:
        """Copies these versions of the files in the folder `source`, from S3 to S3, encrypted with the key."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda file: self._copy(source, file, kms_key_arn), files))

    def _copy(self, source: str, file: ModelFile, kms_key_arn: str) -> None:
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        algorithm = file.checksum.partition(":")[0]
        arguments = {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": kms_key_arn,
            "ChecksumAlgorithm": algorithm,
            # Reading a file's tags and annotations would take more permissions in the other account.
            "TaggingDirective": "REPLACE",
            "AnnotationDirective": "EXCLUDE",
        }
        parts_from = MAX_COPY_BYTES if algorithm == WHOLE else LARGEST_COPY
        with translate_errors(f"copy {source}{file.name}"):
            self._s3.copy(
                {"Bucket": bucket, "Key": prefix + file.name, "VersionId": file.version_id},
                self._bucket,
                self._prefix + file.name,
                ExtraArgs=arguments,
                Config=TransferConfig(
                    multipart_threshold=parts_from, multipart_chunksize=MAX_COPY_BYTES, max_concurrency=AT_ONCE
                ),
            )


def _checksum(head: Mapping[str, Any]) -> str:
    """`CRC64NVME:…`, if S3 keeps a checksum of the whole file that a copy would have as well; else ""."""
    whole = head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    found = {
        name.removeprefix(CHECKSUM): str(value)
        for name, value in sorted(head.items())
        if name.startswith(CHECKSUM) and name != "ChecksumType"
    }
    if not whole or not found or (head["ContentLength"] > LARGEST_COPY and WHOLE not in found):
        return ""
    algorithm = WHOLE if WHOLE in found else next(iter(found))
    return f"{algorithm}:{found[algorithm]}"
