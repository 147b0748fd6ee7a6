"""A user's upload: run.json, template.json and the data files."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from finetuning.aws.clients import client
from finetuning.aws.errors import DENIED, error_code, translate_errors
from finetuning.datasets.formats import is_data
from finetuning.datasets.templates import MAX_TEMPLATE_BYTES, TEMPLATE_FILE
from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import INBOX, RUNS
from finetuning.runs.plan import DataFile
from finetuning.runs.run_json import MAX_BYTES
from finetuning.runs.uploads import Upload


class UploadBucket:
    """Reads one upload. Raises the errors of `translate_errors`."""

    def __init__(self, s3: Any, upload: Upload) -> None:
        self._s3 = s3
        self._upload = upload

    def run_json(self) -> bytes:
        """The upload's run.json; an empty object for a single file in the inbox, for which all defaults hold.

        Raises `FineTuningError` (UPLOAD_NOT_FOUND) if that version does not exist any more.
        """
        if self._upload.folder is None:
            return b"{}"
        body = self._get(self._upload.key, MAX_BYTES + 1, VersionId=self._upload.version_id)
        return body if body is not None else _gone(self._upload.key)

    def template_json(self) -> bytes | None:
        """The template.json beside the data, or None."""
        folder = self._upload.folder
        return self._get(folder + TEMPLATE_FILE, MAX_TEMPLATE_BYTES + 1) if folder else None

    def data_files(self) -> tuple[DataFile, ...]:
        """The data files in the order of their keys, each in its current version."""
        folder = self._upload.folder
        if folder is None:
            return (self._data_file(self._upload.key, VersionId=self._upload.version_id),)
        return tuple(self._data_file(key) for key in sorted(self._keys(folder)) if is_data(key.removeprefix(folder)))

    def head(self, file: DataFile, size: int) -> bytes:
        """The first `size` bytes of a data file, or all of a shorter one.

        Raises `FineTuningError` (DATASET_REFUSED) if the object is archived, or encrypted with a key of someone else.
        """
        if file.size == 0:
            return b""
        try:
            body = self._get(file.key, size, VersionId=file.version_id, Range=f"bytes=0-{size - 1}")
        except FineTuningError as error:
            if isinstance(error.__cause__, ClientError) and (refusal := _unreadable(file, error.__cause__)):
                raise refusal from error
            raise
        return body if body is not None else _gone(file.key)

    def _data_file(self, key: str, **version: str) -> DataFile:
        head = self._unless_absent(key, lambda: self._s3.head_object(Bucket=self._upload.bucket, Key=key, **version))
        if head is None:
            _gone(key)
        return DataFile(
            key=key, version_id=head.get("VersionId", "null"), size=head["ContentLength"], etag=head["ETag"].strip('"')
        )

    def _get(self, key: str, most: int, **how: str) -> bytes | None:
        """At most so many bytes of the object: a document one byte too long is refused by its reader."""
        answer = self._unless_absent(key, lambda: self._s3.get_object(Bucket=self._upload.bucket, Key=key, **how))
        return None if answer is None else answer["Body"].read(most)

    def _keys(self, folder: str) -> Iterator[str]:
        with translate_errors(f"list s3://{self._upload.bucket}/{folder}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._upload.bucket, Prefix=folder):
                yield from (found["Key"] for found in page.get("Contents", []))

    def _unless_absent(self, key: str, call: Callable[[], Any]) -> Any:
        with translate_errors(f"read s3://{self._upload.bucket}/{key}"):
            try:
                return call()
            except ClientError as error:
                if error_code(error) in ("NoSuchKey", "NoSuchVersion", "404"):
                    return None
                raise


def uploads_between(bucket: str, begin: datetime, end: datetime) -> Iterator[Upload]:
    """The uploads of that time that start a run, each key in its current version."""
    pages = client("s3").get_paginator("list_object_versions")
    with translate_errors(f"list s3://{bucket}"):
        for prefix in (INBOX, RUNS):
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Versions", []):
                    upload = Upload(bucket, found["Key"], found["VersionId"])
                    if found["IsLatest"] and begin <= found["LastModified"] <= end and upload.starts_a_run:
                        yield upload


def _unreadable(file: DataFile, error: ClientError) -> FineTuningError | None:
    """What a user can do about an object that exists and that S3 does not give out; None for any other error."""
    code = error_code(error)
    if code == "InvalidObjectState":
        return FineTuningError(
            Code.DATASET_REFUSED,
            f"{file.name} cannot be read: its object is archived (S3 Glacier or an archive tier): {file.key}.",
            "Restore the object, or upload the file again in the storage class STANDARD, and then run.json.",
        )
    if code in DENIED:
        return FineTuningError(
            Code.DATASET_REFUSED,
            f"{file.name} exists, but S3 denies reading it: {file.key}. It may be encrypted with another KMS key than "
            "the stage's.",
            "Upload the file again without naming a key (the bucket then uses the stage's), and then run.json.",
        )
    return None


def _gone(key: str) -> NoReturn:
    raise FineTuningError(
        Code.UPLOAD_NOT_FOUND,
        f"{key} was deleted from the upload bucket before the run could read it.",
        "Upload it again.",
    )


def upload_bucket(upload: Upload) -> UploadBucket:
    return UploadBucket(client("s3"), upload)
