"""The files of a tuned model: described with S3's own checksums, and copied in the version that was described."""

from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from finetuning.aws import model_files
from finetuning.aws.model_files import LARGEST_COPY, ModelFiles
from finetuning.aws.s3_streams import MAX_COPY_BYTES
from finetuning.errors import FineTuningError
from finetuning.runs.release import ModelFile, artefact_digest

THERE, HERE = "s3://models/runs/a-1/training/job/output/model/", "s3://artifacts/runs/b-2/training/job/output/model/"


@pytest.fixture
def s3(aws: None) -> Any:
    client = boto3.client("s3", region_name="us-east-1")
    for bucket in ("models", "artifacts"):
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture
def key() -> str:
    return str(boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["Arn"])


def put(s3: Any, name: str, body: bytes) -> None:
    bucket, _, prefix = THERE.removeprefix("s3://").partition("/")
    s3.put_object(Bucket=bucket, Key=prefix + name, Body=body, ChecksumAlgorithm="SHA256")


def test_a_copy_has_the_same_digest_and_a_file_that_differs_another(s3: Any, key: str) -> None:
    put(s3, "config.json", b"{}")
    put(s3, "weights/a.safetensors", b"weights")
    put(s3, "empty", b"")
    described = ModelFiles(THERE).described()
    assert [(each.name, each.size) for each in described] == [
        ("config.json", 2),
        ("empty", 0),
        ("weights/a.safetensors", 7),
    ]
    assert all(each.checksum.startswith("SHA256:") for each in described)
    ModelFiles(HERE).copy_from(THERE, described, key)
    copied = ModelFiles(HERE).described()
    assert artefact_digest(copied) == artefact_digest(described) != ""
    put(s3, "config.json", b"[]")
    assert artefact_digest(ModelFiles(THERE).described()) != artefact_digest(described)


def test_the_version_that_was_described_is_copied_not_what_replaced_it(s3: Any, key: str) -> None:
    put(s3, "config.json", b"approved")
    described = ModelFiles(THERE).described()
    put(s3, "config.json", b"replaced")
    ModelFiles(HERE).copy_from(THERE, described, key)
    bucket, _, prefix = HERE.removeprefix("s3://").partition("/")
    copy = s3.get_object(Bucket=bucket, Key=f"{prefix}config.json")
    assert copy["Body"].read() == b"approved"
    assert (copy["ServerSideEncryption"], copy["SSEKMSKeyId"]) == ("aws:kms", key)


def test_a_version_that_is_gone_is_an_error(s3: Any, key: str) -> None:
    gone = ModelFile(name="config.json", size=1, version_id="nothing", checksum="SHA256:x=")
    with pytest.raises(FineTuningError, match=r"copy s3://models/.*config.json"):
        ModelFiles(HERE).copy_from(THERE, [gone], key)


@pytest.mark.parametrize(
    ("head", "checksum"),
    [
        ({"ChecksumCRC64NVME": "abc=", "ChecksumType": "FULL_OBJECT"}, "CRC64NVME:abc="),
        ({"ChecksumSHA256": "abc="}, "SHA256:abc="),
        ({"ChecksumCRC32": "a=", "ChecksumCRC64NVME": "b=", "ChecksumType": "FULL_OBJECT"}, "CRC64NVME:b="),
        ({"ChecksumCRC32": "abc=-3", "ChecksumType": "COMPOSITE"}, ""),  # of the parts' checksums, not of the file
        ({"ChecksumType": "FULL_OBJECT"}, ""),
        ({"ChecksumCRC64NVME": "abc=", "ContentLength": LARGEST_COPY + 1}, "CRC64NVME:abc="),
        ({"ChecksumSHA256": "abc=", "ContentLength": LARGEST_COPY + 1}, ""),  # a copy in parts has no such checksum
    ],
)
def test_a_file_has_the_checksum_that_a_copy_would_have(
    monkeypatch: pytest.MonkeyPatch, head: dict[str, Any], checksum: str
) -> None:
    pages = SimpleNamespace(paginate=lambda **_: [{"Contents": [{"Key": THERE.partition("models/")[2] + "w"}]}])
    answer = {"ContentLength": 1, "VersionId": "1", **head}
    fake = SimpleNamespace(get_paginator=lambda _: pages, head_object=lambda **_: answer)
    monkeypatch.setattr(model_files, "client", lambda _: fake)
    (described,) = ModelFiles(THERE).described()
    assert (described.name, described.checksum) == ("w", checksum)


@pytest.mark.parametrize(
    ("algorithm", "parts_from"), [("CRC64NVME", MAX_COPY_BYTES), ("CRC32", LARGEST_COPY), ("SHA256", LARGEST_COPY)]
)
def test_only_a_checksum_that_parts_have_together_is_copied_in_parts(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, parts_from: int
) -> None:
    asked: list[dict[str, Any]] = []
    fake = SimpleNamespace(copy=lambda source, bucket, key, **how: asked.append(how))
    monkeypatch.setattr(model_files, "client", lambda _: fake)
    file = ModelFile(name="w", size=1, version_id="1", checksum=f"{algorithm}:x=")
    ModelFiles(HERE).copy_from(THERE, [file], "key")
    (how,) = asked
    assert how["Config"].multipart_threshold == parts_from
    assert how["ExtraArgs"]["ChecksumAlgorithm"] == algorithm
