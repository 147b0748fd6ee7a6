"""A run's documents in S3."""

import boto3
import pytest

from finetuning.aws.run_store import RunStore
from finetuning.errors import FineTuningError
from finetuning.runs.status import RunStatus


@pytest.fixture
def store(aws: None) -> RunStore:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="artifacts")
    key = boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    return RunStore(s3, "artifacts", key)


def test_the_first_claim_wins_and_later_ones_learn_whose_it_is(store: RunStore) -> None:
    assert store.claim("claim.json", b"first") == b"first"
    assert store.claim("claim.json", b"second") == b"first"
    assert store.read("claim.json") == b"first"


def test_a_document_that_is_not_there_is_none_but_a_needed_one_is_an_error(store: RunStore) -> None:
    assert store.read("nothing.json") is None
    with pytest.raises(FineTuningError, match=r"nothing\.json is missing"):
        store.load("nothing.json", RunStatus)


def test_every_document_is_encrypted_with_the_stages_key(store: RunStore) -> None:
    store.write("a.json", b"{}")
    head = boto3.client("s3", region_name="us-east-1").head_object(Bucket="artifacts", Key="a.json")
    assert head["ServerSideEncryption"] == "aws:kms"
