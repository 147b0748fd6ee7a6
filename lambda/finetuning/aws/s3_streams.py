"""S3 objects as streams: downloads are resumed, uploads go in parts, and S3 joins objects without a download.

Memory use is constant: a small buffer for each object, and one part of 8 MiB for each that is being written.
"""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, BinaryIO, cast

from botocore.exceptions import HTTPClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from urllib3.exceptions import HTTPError

from finetuning.aws.errors import TRY_AGAIN, translate_errors
from finetuning.datasets.workspace import BUFFER, Piece
from finetuning.errors import Code, TransientAwsError

PART_BYTES = 8 << 20
MIN_PART_BYTES = 5 << 20
"""S3's minimum for every part but the last."""

MAX_COPY_BYTES = 1 << 30
"""Bytes copied by one request. S3 allows 5 GiB; a smaller copy responds before a timeout."""

COPIES_AT_ONCE = 16
"""Copies inside S3 that are requested at a time: each takes seconds, in which this process only waits."""

ATTEMPTS = 5
"""How often in a row a download may break off without a byte received."""

_BROKEN = (
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
    OSError,
    ReadTimeoutError,
    ResponseStreamingError,
)


class S3Reader(io.RawIOBase):
    """An object from `start` on. A download that breaks off is resumed where it stopped, in the same version.

    Seekable, because Parquet needs it. Raises the errors of `translate_errors`: REQUEST_INVALID if the object was
    replaced in the meantime.
    """

    def __init__(
        self, s3: Any, bucket: str, key: str, start: int = 0, version_id: str | None = None, etag: str | None = None
    ) -> None:
        self._s3 = s3
        self._object = {"Bucket": bucket, "Key": key} | ({"VersionId": version_id} if version_id else {})
        self._name = f"s3://{bucket}/{key}"
        self._etag = etag if etag is None or etag.startswith('"') else f'"{etag}"'
        self._position = start
        self._size: int | None = None
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        target = offset + (self._length() if base is None else base)
        if target != self._position:
            self._close_body()
            self._position = target
        return target

    def readinto(self, into: Any) -> int:
        with translate_errors(f"read {self._name}"):
            for _ in range(ATTEMPTS):
                if self._body is None and not self._open():
                    return 0
                try:
                    read = self._body.readinto(into)
                except _BROKEN:
                    self._close_body()
                    continue  # opened again where it broke off
                if read or self._position >= self._length():
                    self._position += read
                    return int(read)
                self._close_body()
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE,
            f"The download of {self._name} broke off {ATTEMPTS} times in a row at byte {self._position:,}.",
            TRY_AGAIN,
        )

    def close(self) -> None:
        self._close_body()
        super().close()

    def _open(self) -> bool:
        """Requests the rest of the object; False at its end."""
        if self._size is not None and self._position >= self._size:
            return False
        how: dict[str, str] = {"IfMatch": self._etag} if self._etag else {}
        if self._position:
            how["Range"] = f"bytes={self._position}-"
        answer = self._s3.get_object(**self._object, **how)
        self._body = answer["Body"]
        self._etag = answer["ETag"]
        self._size = self._position + answer["ContentLength"]
        return True

    def _length(self) -> int:
        if self._size is None:
            head = self._s3.head_object(**self._object)
            self._etag, self._size = head["ETag"], head["ContentLength"]
        return int(self._size or 0)

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def s3_reader(s3: Any, bucket: str, key: str, start: int = 0, **version: str | None) -> BinaryIO:
    """A buffered reader of an object. `version`: `version_id`, `etag`."""
    return io.BufferedReader(S3Reader(s3, bucket, key, start, **version), BUFFER)


class MultipartUpload:
    """An object that is being written: bytes are uploaded, and S3 itself copies ranges of other objects into it.

    A small object is one request. S3 makes several copies at a time. Nothing is visible under the key before
    `complete`.
    """

    def __init__(self, s3: Any, bucket: str, key: str, encryption: dict[str, str]) -> None:
        self._s3 = s3
        self._target = {"Bucket": bucket, "Key": key}
        self._encryption = encryption
        self._pending = bytearray()
        self._etags: list[str | Future[str]] = []
        """Of the parts, in their order; of a part that S3 is copying, what it will be."""
        self._copies = ThreadPoolExecutor(COPIES_AT_ONCE)
        self._upload_id = ""

    def write(self, data: Any) -> int:
        self._pending += data
        if len(self._pending) >= PART_BYTES:
            self._send_pending()
        return len(data)

    def copy(self, piece: Piece) -> None:
        """Adds a range of an object of the same bucket. A range too small for a part is downloaded and uploaded."""
        start = piece.start
        if self._pending:
            start = self._download(piece, start, min(piece.end, start + MIN_PART_BYTES - len(self._pending)))
        while piece.end - start >= MIN_PART_BYTES:
            if self._pending:
                self._send_pending()
            end = min(piece.end, start + MAX_COPY_BYTES)
            self._etags.append(self._copies.submit(self._copy_part, self._next_part(), piece.key, start, end))
            start = end
        self._download(piece, start, piece.end)

    def complete(self) -> None:
        if not self._upload_id:
            self._s3.put_object(**self._target, Body=self._pending, **self._encryption)
            return
        if self._pending:
            self._send_pending()
        etags = (etag.result() if isinstance(etag, Future) else etag for etag in self._etags)
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        self._copies.shutdown()
        self._s3.complete_multipart_upload(**self._target, UploadId=self._upload_id, MultipartUpload={"Parts": parts})

    def abort(self) -> None:
        """Waits for the copies in progress: a part that arrived after the upload's end would be kept, and paid for."""
        self._copies.shutdown(cancel_futures=True)
        if self._upload_id:
            self._s3.abort_multipart_upload(**self._target, UploadId=self._upload_id)

    def _download(self, piece: Piece, start: int, end: int) -> int:
        if end > start:
            with s3_reader(self._s3, self._target["Bucket"], piece.key, start) as source:
                self.write(source.read(end - start))
        return max(start, end)

    def _send_pending(self) -> None:
        self._etags.append(self._s3.upload_part(**self._next_part(), Body=self._pending)["ETag"])
        self._pending = bytearray()

    def _copy_part(self, part: dict[str, Any], key: str, start: int, end: int) -> str:
        answer = self._s3.upload_part_copy(
            **part,
            CopySource={"Bucket": self._target["Bucket"], "Key": key},
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        return str(answer["CopyPartResult"]["ETag"])

    def _next_part(self) -> dict[str, Any]:
        if not self._upload_id:
            self._upload_id = self._s3.create_multipart_upload(**self._target, **self._encryption)["UploadId"]
        return {**self._target, "UploadId": self._upload_id, "PartNumber": len(self._etags) + 1}


class _Writer(io.RawIOBase):
    """The raw stream below a buffered writer into an upload."""

    def __init__(self, upload: MultipartUpload) -> None:
        self._upload = upload

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._upload.write(data)


class S3Workspace:
    """Prepared data under a prefix of a bucket (see `datasets.workspace.Workspace`), encrypted with the stage's key."""

    def __init__(self, s3: Any, bucket: str, prefix: str, kms_key_arn: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix
        self._encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_arn}

    def open(self, key: str, start: int = 0) -> BinaryIO:
        return s3_reader(self._s3, self._bucket, self._prefix + key, start)

    def create(self, key: str) -> AbstractContextManager[BinaryIO]:
        return self._create(key)

    @contextmanager
    def _create(self, key: str) -> Iterator[BinaryIO]:
        with self._uploading(key) as upload:
            writer = io.BufferedWriter(_Writer(upload), BUFFER)
            yield cast(BinaryIO, writer)
            writer.flush()

    def size(self, key: str) -> int:
        with translate_errors(f"look up s3://{self._bucket}/{self._prefix}{key}"):
            return int(self._s3.head_object(Bucket=self._bucket, Key=self._prefix + key)["ContentLength"])

    def assemble(self, key: str, pieces: Sequence[Piece]) -> None:
        with self._uploading(key) as upload:
            for piece in pieces:
                upload.copy(piece._replace(key=self._prefix + piece.key))

    @contextmanager
    def _uploading(self, key: str) -> Iterator[MultipartUpload]:
        """Completes the upload at the end, or aborts it after an error, so that no parts are left to pay for."""
        upload = MultipartUpload(self._s3, self._bucket, self._prefix + key, self._encryption)
        with translate_errors(f"write s3://{self._bucket}/{self._prefix}{key}"):
            try:
                yield upload
                upload.complete()
            except BaseException:
                upload.abort()
                raise
