"""S3 objects as streams: downloads that break go on, uploads appear whole or not at all."""

import io
import random
import threading
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from finetuning.aws.s3_streams import ATTEMPTS, COPIES_AT_ONCE, MIN_PART_BYTES, PART_BYTES, S3Workspace, s3_reader
from finetuning.datasets.workspace import Piece
from finetuning.errors import FineTuningError, TransientAwsError
from tests.builders.aws import client_error

BUCKET = "artifacts"
KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/k"


def any_bytes(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def workspace(s3: Any) -> S3Workspace:
    key = boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    return S3Workspace(s3, BUCKET, "runs/demo/", key)


class MeetingS3:
    """S3 whose copies each wait until `together` of them have been requested, and then finish in reverse order."""

    def __init__(self, s3: Any, together: int) -> None:
        self._s3, self._meeting = s3, threading.Barrier(together, timeout=20)
        self._last_first = threading.Condition()
        self._left = together

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def upload_part_copy(self, **request: Any) -> Any:
        self._meeting.wait()
        with self._last_first:
            self._last_first.wait_for(lambda: self._left == request["PartNumber"], timeout=20)
            answer = self._s3.upload_part_copy(**request)
            self._left -= 1
            self._last_first.notify_all()
        return answer


class RefusingS3:
    """S3 that refuses the copy of one object."""

    def __init__(self, s3: Any, refused: str) -> None:
        self._s3, self._refused = s3, refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def upload_part_copy(self, **request: Any) -> Any:
        if request["CopySource"]["Key"] == self._refused:
            raise client_error("AccessDenied", "no")
        return self._s3.upload_part_copy(**request)


class DeafS3:
    """S3 whose answer to the end of an upload is lost: the SDK asks again, and the upload does not exist any more."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def complete_multipart_upload(self, **request: Any) -> Any:
        self._s3.complete_multipart_upload(**request)
        raise client_error("NoSuchUpload", "The upload ID may be invalid, or the upload was aborted or completed.")


class BrittleS3:
    """S3 whose downloads break off every `bytes_each` bytes."""

    def __init__(self, s3: Any, bytes_each: int) -> None:
        self._s3, self._bytes_each = s3, bytes_each
        self.requests: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def get_object(self, **request: Any) -> Any:
        self.requests.append(request)
        answer = self._s3.get_object(**request)
        answer["Body"] = BrittleBody(answer["Body"].read()[: self._bytes_each])
        return answer


class BrittleBody(io.BytesIO):
    def readinto(self, into: Any) -> int:
        read = super().readinto(into)
        if not read:
            raise ReadTimeoutError(endpoint_url="s3")
        return read


def test_a_download_that_breaks_goes_on_where_it_stopped_with_the_same_version(s3: Any) -> None:
    data = any_bytes(3_000_000)
    etag = s3.put_object(Bucket=BUCKET, Key="data", Body=data)["ETag"]
    brittle = BrittleS3(s3, bytes_each=700_000)
    assert s3_reader(brittle, BUCKET, "data", etag=etag.strip('"')).read() == data
    assert len(brittle.requests) == 5
    assert all(request["IfMatch"] == etag for request in brittle.requests)
    assert brittle.requests[1]["Range"] == "bytes=700000-"


def test_a_download_that_brings_nothing_is_given_up_and_may_be_tried_again(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="data", Body=any_bytes(1000))
    brittle = BrittleS3(s3, bytes_each=0)
    with pytest.raises(TransientAwsError, match="broke off"):
        s3_reader(brittle, BUCKET, "data").read()
    assert len(brittle.requests) == ATTEMPTS


def test_an_object_replaced_meanwhile_is_not_mixed_with_the_old_one(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="data", Body=any_bytes(1000))
    brittle = BrittleS3(s3, bytes_each=600)
    reader = s3_reader(brittle, BUCKET, "data")
    assert reader.read1(600)  # type: ignore[attr-defined]  # a BufferedReader
    s3.put_object(Bucket=BUCKET, Key="data", Body=any_bytes(999))
    with pytest.raises(FineTuningError):
        reader.read()


def test_reading_from_the_middle_and_seeking(s3: Any) -> None:
    data = any_bytes(100_000)
    s3.put_object(Bucket=BUCKET, Key="data", Body=data)
    reader = s3_reader(s3, BUCKET, "data", 40_000)
    assert reader.read(10) == data[40_000:40_010]
    assert reader.seek(-5, io.SEEK_END) == 99_995
    assert reader.read() == data[-5:]
    assert reader.seek(0) == 0
    assert reader.read() == data


def test_an_empty_object_is_empty(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="data", Body=b"")
    assert s3_reader(s3, BUCKET, "data").read() == b""


@pytest.mark.parametrize("length", [0, 10, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
def test_what_is_written_is_there_whole_and_encrypted(workspace: S3Workspace, s3: Any, length: int) -> None:
    data = any_bytes(length)
    with workspace.create("out") as file:
        for start in range(0, length, 300_000):
            file.write(data[start : start + 300_000])
    assert workspace.open("out").read() == data
    assert s3.head_object(Bucket=BUCKET, Key="runs/demo/out")["ServerSideEncryption"] == "aws:kms"


def test_a_failure_leaves_neither_an_object_nor_parts(workspace: S3Workspace, s3: Any) -> None:
    def fail() -> None:
        with workspace.create("out") as file:
            file.write(any_bytes(2 * PART_BYTES))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize(
    "lengths",
    [
        [10, 20, 30],
        [MIN_PART_BYTES, MIN_PART_BYTES],
        [10, 2 * MIN_PART_BYTES + 7, 3],
        [MIN_PART_BYTES + 1, 100, MIN_PART_BYTES - 50, 2 * PART_BYTES],
        [],
    ],
)
def test_pieces_large_and_small_are_joined_in_their_order(workspace: S3Workspace, s3: Any, lengths: list[int]) -> None:
    pieces, expected = [], b""
    for number, length in enumerate(lengths):
        data = any_bytes(length + 2)
        s3.put_object(Bucket=BUCKET, Key=f"runs/demo/{number}", Body=data)
        pieces.append(Piece(str(number), 1, length + 1))
        expected += data[1 : length + 1]
    workspace.assemble("joined", pieces)
    assert workspace.open("joined").read() == expected


def any_pieces(s3: Any, count: int) -> list[Piece]:
    for number in range(count):
        s3.put_object(Bucket=BUCKET, Key=f"runs/demo/{number}", Body=bytes([number]) * MIN_PART_BYTES)
    return [Piece(str(number), 0, MIN_PART_BYTES) for number in range(count)]


def test_s3_copies_several_pieces_at_a_time_and_their_order_is_kept(s3: Any) -> None:
    pieces = any_pieces(s3, COPIES_AT_ONCE)
    workspace = S3Workspace(MeetingS3(s3, COPIES_AT_ONCE), BUCKET, "runs/demo/", KEY_ARN)
    workspace.assemble("joined", pieces)
    joined = workspace.open("joined").read()
    assert [joined[at * MIN_PART_BYTES] for at in range(len(pieces))] == [*range(len(pieces))]
    assert len(joined) == len(pieces) * MIN_PART_BYTES


def test_an_upload_whose_end_may_have_been_lost_is_written_again_by_its_step(s3: Any) -> None:
    workspace = S3Workspace(DeafS3(s3), BUCKET, "runs/demo/", KEY_ARN)
    with pytest.raises(TransientAwsError), workspace.create("large") as into:
        into.write(any_bytes(PART_BYTES + 1))


def test_a_copy_that_is_refused_leaves_neither_an_object_nor_parts(s3: Any) -> None:
    pieces = any_pieces(s3, COPIES_AT_ONCE + 4)
    workspace = S3Workspace(RefusingS3(s3, "runs/demo/3"), BUCKET, "runs/demo/", KEY_ARN)
    with pytest.raises(FineTuningError, match="write s3://artifacts/runs/demo/joined"):
        workspace.assemble("joined", pieces)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    assert "runs/demo/joined" not in [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
