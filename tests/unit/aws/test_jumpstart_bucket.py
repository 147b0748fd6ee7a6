"""JumpStart's documents, read from S3."""

import json
from typing import Any

import boto3
import pytest

from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.errors import FineTuningError
from finetuning.jumpstart.catalogue import CATALOGUE
from finetuning.jumpstart.spec import cache_bucket, private_bucket, read_manifest, spec_key
from tests.builders.jumpstart import BASE_70B, FACTS, LLAMA, document

REGION = "us-east-1"


@pytest.fixture
def s3(aws: None) -> Any:
    s3 = boto3.client("s3", region_name=REGION)
    for bucket in (cache_bucket(REGION), private_bucket(REGION)):
        s3.create_bucket(Bucket=bucket)
    for path in FACTS.rglob("*.json"):
        s3.put_object(Bucket=cache_bucket(REGION), Key=str(path.relative_to(FACTS)), Body=path.read_bytes())
    return s3


def publish(s3: Any, version: str) -> None:
    """A newer version of the 70B model than the facts have."""
    manifest = json.loads((FACTS / "models_manifest.json").read_bytes())
    newer = {"model_id": BASE_70B, "version": version, "spec_key": spec_key(BASE_70B, version)}
    for key, body in (("models_manifest.json", [*manifest, newer]), (newer["spec_key"], document(BASE_70B) | newer)):
        s3.put_object(Bucket=cache_bucket(REGION), Key=key, Body=json.dumps(body))


def test_the_version_of_the_facts_is_read_unless_another_is_pinned(s3: Any) -> None:
    publish(s3, "2.17.0")
    bucket = JumpStartBucket(s3, REGION)
    assert bucket.spec(BASE_70B).version == "2.16.2"
    assert bucket.spec(BASE_70B, "2.17.0").version == "2.17.0"


def test_the_newest_version_is_the_highest_in_the_manifest(s3: Any) -> None:
    assert JumpStartBucket(s3, REGION).newest_version(BASE_70B) == "2.16.2"
    publish(s3, "2.17.0")
    assert JumpStartBucket(s3, REGION).newest_version(BASE_70B) == "2.17.0"


def test_the_catalogue_has_the_versions_of_the_kept_documents() -> None:
    manifest = read_manifest((FACTS / "models_manifest.json").read_bytes())
    assert {entry.model_id: entry.version for entry in manifest} == {m: row.version for m, row in CATALOGUE.items()}


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
