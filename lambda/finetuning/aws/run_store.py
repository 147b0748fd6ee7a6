"""A run's JSON documents in the artifacts bucket."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from botocore.exceptions import ClientError
from pydantic import BaseModel

from finetuning.aws.clients import client
from finetuning.aws.errors import TRY_AGAIN, error_code, translate_errors
from finetuning.aws.s3_streams import S3Workspace
from finetuning.datasets.workspace import Workspace
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.settings import settings

M = TypeVar("M", bound=BaseModel)
UPDATES = 50
"""Times that a change of a document is tried while others change it: more than the steps of a run that work at once."""
NOT_HELD = ("PreconditionFailed", "412")
NOT_AS_READ = (*NOT_HELD, "ConditionalRequestConflict", "409")
"""S3's errors for a conditional put of an object that another put has changed, or is changing."""


class RunStore:
    """Reads and writes whole documents, encrypted with the stage's key; without one, with the bucket's default key,
    which is the same. Raises the errors of `translate_errors`.
    """

    def __init__(self, s3: Any, bucket: str, kms_key_arn: str) -> None:
        self._s3 = s3
        self.bucket = bucket
        self._kms_key_arn = kms_key_arn
        named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_arn}
        self._encryption = named if kms_key_arn else {}

    def read(self, key: str) -> bytes | None:
        """The document, or None if it does not exist."""
        body, _ = self._read_version(key)
        return body

    def write(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        with translate_errors(f"write s3://{self.bucket}/{key}"):
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **self._encryption)

    def link(self, key: str, hours: float) -> str:
        """A URL from which anyone can download the document, until `hours` have passed or the credentials of this
        process expire. Those must allow to read the object and to decrypt with its key.
        """
        named = {"Bucket": self.bucket, "Key": key}
        return str(self._s3.generate_presigned_url("get_object", Params=named, ExpiresIn=round(hours * 3600)))

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders directly below the prefix."""
        with translate_errors(f"list s3://{self.bucket}/{prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
            for page in pages:
                for found in page.get("CommonPrefixes", []):
                    yield found["Prefix"].removeprefix(prefix).rstrip("/")

    def load(self, key: str, model: type[M]) -> M:
        """The document as `model`. Raises `FineTuningError` (INTERNAL_ERROR) if an earlier step did not write it."""
        body = self.read(key)
        if body is None:
            raise FineTuningError(
                Code.INTERNAL_ERROR,
                f"s3://{self.bucket}/{key} is missing.",
                "The run's files were deleted while it was running. Upload the data again.",
            )
        return model.model_validate_json(body)

    def find(self, key: str, model: type[M]) -> M | None:
        """The document as `model`, or None if it does not exist."""
        body = self.read(key)
        return None if body is None else model.model_validate_json(body)

    def save(self, key: str, model: BaseModel) -> None:
        self.write(key, model.model_dump_json(indent=2).encode())

    def update(self, key: str, model: type[M], change: Callable[[M | None], M]) -> M:
        """Reads the document, changes it and writes it back; from the beginning if another step wrote it meanwhile, so
        that no change is lost. Returns the document as written. `change` gets None if there is no document yet.

        Raises `TransientAwsError` if others changed it again and again.
        """
        tried, changed = b"", None
        for _ in range(UPDATES):
            body, version = self._read_version(key)
            if changed is not None and body == tried:
                return changed  # it was written: the answer was lost, and the SDK's second request was refused
            changed = change(None if body is None else model.model_validate_json(body))
            tried = changed.model_dump_json(indent=2).encode()
            if self._replace(key, tried, version):
                return changed
        message = f"Cannot write s3://{self.bucket}/{key}: other steps changed it {UPDATES} times meanwhile."
        raise TransientAwsError(Code.AWS_UNAVAILABLE, message, TRY_AGAIN)

    def _read_version(self, key: str) -> tuple[bytes | None, str]:
        """The document and its ETag; None and "" if it does not exist."""
        with translate_errors(f"read s3://{self.bucket}/{key}"):
            try:
                found = self._s3.get_object(Bucket=self.bucket, Key=key)
                return found["Body"].read(), str(found["ETag"])
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "404"):
                    return None, ""
                raise

    def _replace(self, key: str, body: bytes, version: str) -> bool:
        """Writes the document; False if it is not as it was read."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        with translate_errors(f"write s3://{self.bucket}/{key}"):
            return self._put_if(key, body, NOT_AS_READ, **condition)

    def _put_if(self, key: str, body: bytes, refusals: Collection[str], **condition: str) -> bool:
        """Writes the document under a condition; False if S3 refuses it with one of these errors."""
        try:
            self._s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType="application/json",
                **condition,
                **self._encryption,
            )
        except ClientError as error:
            if error_code(error) not in refusals:
                raise
            return False
        return True

    def is_empty(self, prefix: str) -> bool:
        """True if there is no object below the prefix."""
        with translate_errors(f"list s3://{self.bucket}/{prefix}"):
            return not self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1).get("Contents")

    def claim(self, key: str, body: bytes) -> bytes:
        """Writes the document unless it exists; returns the one that is stored now, `body` or the earlier one.

        Raises `TransientAwsError` while another conditional put of the key is in progress, which may still fail.
        """
        with translate_errors(f"claim s3://{self.bucket}/{key}"):
            if self._put_if(key, body, NOT_HELD, IfNoneMatch="*"):
                return body
        return self.read(key) or body

    def workspace(self, prefix: str) -> Workspace:
        """The objects below the prefix, as streams."""
        return S3Workspace(self._s3, self.bucket, prefix, self._kms_key_arn)


def run_store() -> RunStore:
    """The documents of this function's stage."""
    return RunStore(client("s3"), settings().artifacts_bucket, settings().kms_key_arn)
