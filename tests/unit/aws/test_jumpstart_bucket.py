"""JumpStart's documents, read from S3."""

from typing import Any

import boto3
import pytest

from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.errors import FineTuningError
from finetuning.jumpstart.spec import cache_bucket, private_bucket
from tests.builders.jumpstart import BASE_70B, FACTS, LLAMA

REGION = "us-east-1"


@pytest.fixture
def s3(aws: None) -> Any:
    s3 = boto3.client("s3", region_name=REGION)
    for bucket in (cache_bucket(REGION), private_bucket(REGION)):
        s3.create_bucket(Bucket=bucket)
    for path in FACTS.rglob("*.json"):
        s3.put_object(Bucket=cache_bucket(REGION), Key=str(path.relative_to(FACTS)), Body=path.read_bytes())
    return s3


def test_the_newest_version_is_read_unless_one_is_pinned(s3: Any) -> None:
    newest = JumpStartBucket(s3, REGION).spec(BASE_70B)
    assert newest.version == "2.16.2"
    s3.delete_object(Bucket=cache_bucket(REGION), Key="models_manifest.json")
    assert JumpStartBucket(s3, REGION).spec(BASE_70B, "2.16.2") == newest


@pytest.mark.parametrize(("model_id", "version"), [(LLAMA + "9b", None), (BASE_70B, "9.9.9")])
def test_a_missing_document_is_an_error_with_the_models_name(s3: Any, model_id: str, version: str | None) -> None:
    with pytest.raises(FineTuningError, match=model_id):
        JumpStartBucket(s3, REGION).spec(model_id, version)


def test_what_a_run_needs_is_looked_for(s3: Any) -> None:
    bucket = JumpStartBucket(s3, REGION)
    wanted = bucket.artefacts(bucket.spec(BASE_70B), ["ml.p4d.24xlarge"])
    assert sorted(wanted.values()) == ["training script", "weights for ml.p4d.24xlarge"]
    (name, key), *_ = wanted
    assert bucket.has(name, key) is False
    s3.put_object(Bucket=name, Key=key, Body=b"x")
    assert bucket.has(name, key) is True
    assert bucket.has(name, key.rpartition("/")[0] + "/") is True
    assert bucket.has(name, "nothing/") is False
