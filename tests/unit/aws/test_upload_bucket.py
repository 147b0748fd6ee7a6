"""What a user uploaded, read from a bucket with versions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from finetuning.aws.upload_bucket import UploadBucket, uploads_between
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.runs.plan import DataFile
from finetuning.runs.uploads import Upload
from tests.builders.aws import FakeAws, client_error

BUCKET = "uploads"


@pytest.fixture
def s3(aws: None) -> Any:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return s3


def put(s3: Any, key: str, body: bytes = b"x") -> str:
    return str(s3.put_object(Bucket=BUCKET, Key=key, Body=body)["VersionId"])


def folder(s3: Any, **files: bytes) -> UploadBucket:
    """A folder with these files, and its run.json."""
    for name, body in files.items():
        put(s3, f"runs/faq/{name}", body)
    return UploadBucket(s3, Upload(BUCKET, "runs/faq/run.json", put(s3, "runs/faq/run.json", b'{"task": "chat"}')))


def test_the_run_json_is_read_in_the_version_that_started_the_run(s3: Any) -> None:
    files = folder(s3)
    put(s3, "runs/faq/run.json", b"{}")
    assert files.run_json() == b'{"task": "chat"}'


def test_a_single_file_takes_every_default_and_is_its_own_data(s3: Any) -> None:
    version = put(s3, "inbox/faq.jsonl", b"row")
    put(s3, "inbox/faq.jsonl", b"later")
    put(s3, "inbox/other.jsonl")
    files = UploadBucket(s3, Upload(BUCKET, "inbox/faq.jsonl", version))
    assert files.run_json() == b"{}"
    assert files.template_json() is None
    (data,) = files.data_files()
    assert (data.key, data.version_id, data.size) == ("inbox/faq.jsonl", version, 3)
    assert files.head(data, 2) == b"ro"


@pytest.mark.parametrize(
    ("code", "refused", "words"),
    [
        ("InvalidObjectState", Code.DATASET_REFUSED, "is archived"),
        ("AccessDenied", Code.DATASET_REFUSED, "another KMS key"),
        ("InvalidRange", Code.REQUEST_INVALID, "InvalidRange"),
    ],
)
def test_an_archived_object_and_one_with_a_foreign_key_are_refused_by_their_key(
    cloud: FakeAws, code: str, refused: Code, words: str
) -> None:
    cloud["s3"].refuse("get_object", code, "The operation is not valid for the object's storage class")
    files = UploadBucket(cloud["s3"], Upload(BUCKET, "runs/faq/run.json", "1"))
    with pytest.raises(FineTuningError) as failure:
        files.head(DataFile(key="runs/faq/data.jsonl", version_id="1", size=9, etag="e"), 4)
    assert failure.value.code == refused
    assert words in failure.value.message
    assert "runs/faq/data.jsonl" in failure.value.message


def test_a_folders_data_files_come_by_their_keys_without_our_documents_and_other_files(s3: Any) -> None:
    names = ("b.jsonl", "a.csv.gz", "README.md", "template.json", "deep/c.parquet")
    files = folder(s3, **dict.fromkeys(names, b"x"))
    put(s3, "runs/faq-2/d.jsonl")
    found = [data.key for data in files.data_files()]
    assert found == ["runs/faq/a.csv.gz", "runs/faq/b.jsonl", "runs/faq/deep/c.parquet"]
    assert files.template_json() == b"x"


def test_an_empty_file_has_an_empty_head(s3: Any) -> None:
    files = folder(s3, **{"a.jsonl": b""})
    assert files.head(files.data_files()[0], 100) == b""


def test_an_upload_that_is_gone_is_an_error_that_names_it(s3: Any) -> None:
    files = folder(s3, **{"a.jsonl": b"x"})
    (data,) = files.data_files()
    s3.delete_object(Bucket=BUCKET, Key=data.key, VersionId=data.version_id)
    with pytest.raises(FineTuningError, match=r"a\.jsonl") as failure:
        files.head(data, 1)
    assert failure.value.code == Code.UPLOAD_NOT_FOUND


def test_a_bucket_that_is_busy_is_tried_again(cloud: FakeAws) -> None:
    cloud["s3"].answers["get_object"] = client_error("SlowDown")
    with pytest.raises(TransientAwsError):
        UploadBucket(cloud["s3"], Upload(BUCKET, "runs/faq/run.json", "1")).run_json()


def test_only_latest_uploads_of_the_time_that_start_a_run_are_found(s3: Any) -> None:
    put(s3, "inbox/faq.jsonl", b"earlier")
    versions = {key: put(s3, key) for key in ("inbox/faq.jsonl", "runs/faq/run.json")}
    for key in ("runs/faq/data.jsonl", "inbox/deep/faq.jsonl", "elsewhere/faq.jsonl", "inbox/deleted.jsonl"):
        put(s3, key)
    s3.delete_object(Bucket=BUCKET, Key="inbox/deleted.jsonl")
    now = datetime.now(UTC)
    found = list(uploads_between(BUCKET, now - timedelta(hours=1), now + timedelta(hours=1)))
    assert found == [Upload(BUCKET, key, version) for key, version in versions.items()]
    assert not list(uploads_between(BUCKET, now - timedelta(hours=2), now - timedelta(hours=1)))


def test_documents_are_read_up_to_their_limit_and_one_byte(s3: Any) -> None:
    files = folder(s3, **{"template.json": b" " * 100_000})
    version = put(s3, "runs/faq/run.json", b" " * 1_000_000)
    large = UploadBucket(s3, Upload(BUCKET, "runs/faq/run.json", version))
    assert len(large.run_json()) == (256 << 10) + 1
    assert len(files.template_json() or b"") == (64 << 10) + 1
