"""A run's documents in S3."""

import io
from collections.abc import Callable
from datetime import UTC, datetime

import boto3
import pytest

from finetuning.aws.run_store import RunStore
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.runs.status import RunStatus
from tests.builders.aws import FakeAws


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


def test_a_claim_that_exists_is_read(cloud: FakeAws) -> None:
    s3 = cloud["s3"]
    s3.refuse("put_object", "PreconditionFailed")
    s3.answers["get_object"] = {"Body": io.BytesIO(b"theirs"), "ETag": '"1"'}
    assert RunStore(s3, "artifacts", "key").claim("claim.json", b"ours") == b"theirs"
    (request,) = s3.requests("put_object")
    assert request["IfNoneMatch"] == "*"


def test_a_claim_beside_another_put_is_tried_again(cloud: FakeAws) -> None:
    """S3 answers 409 while another conditional put of the key is under way, which may fail."""
    s3 = cloud["s3"]
    s3.refuse("put_object", "ConditionalRequestConflict")
    with pytest.raises(TransientAwsError):
        RunStore(s3, "artifacts", "key").claim("claim.json", b"ours")
    assert not s3.requests("get_object")


def test_a_claim_that_s3_refuses_is_an_error(cloud: FakeAws) -> None:
    cloud["s3"].refuse("put_object", "AccessDenied")
    with pytest.raises(FineTuningError, match=r"claim\.json"):
        RunStore(cloud["s3"], "artifacts", "key").claim("claim.json", b"ours")


def test_a_document_that_may_not_be_read_is_an_error_and_not_absent(cloud: FakeAws) -> None:
    cloud["s3"].refuse("get_object", "AccessDenied")
    with pytest.raises(FineTuningError) as refused:
        RunStore(cloud["s3"], "artifacts", "key").read("a.json")
    assert refused.value.code == Code.ACCESS_DENIED


def with_step(step: str) -> Callable[[RunStatus | None], RunStatus]:
    """A change of a status: adds an event of that step."""
    now = datetime.now(UTC)
    return lambda status: (status or RunStatus.begin("run", now)).with_event(step, "done", now)


def test_a_change_that_another_step_was_faster_than_is_made_again_on_what_that_step_wrote(store: RunStore) -> None:
    """S3 compares the document's ETag: both changes are kept, whichever is written first."""
    tries = 0

    def change(status: RunStatus | None) -> RunStatus:
        nonlocal tries
        tries += 1
        if tries == 1:
            store.update("status.json", RunStatus, with_step("Other"))
        return with_step("Ours")(status)

    written = store.update("status.json", RunStatus, change)
    assert [event.step for event in written.events] == ["Other", "Ours"]
    assert store.find("status.json", RunStatus) == written
    assert tries == 2


def test_a_change_that_was_written_but_not_answered_is_not_made_twice(store: RunStore) -> None:
    """The SDK sends the request again, and S3 refuses it: the document is not as it was read."""
    s3, put = store._s3, store._s3.put_object

    def put_twice(**request: object) -> object:
        s3.put_object = put
        put(**request)
        return put(**request)

    s3.put_object = put_twice
    written = store.update("status.json", RunStatus, lambda status: with_step(f"Step {_events(status)}")(status))
    assert [event.step for event in written.events] == ["Step 0"]
    assert store.find("status.json", RunStatus) == written


def _events(status: RunStatus | None) -> int:
    return len(status.events) if status else 0


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_a_change_that_never_succeeds_beside_others_is_tried_again_by_its_step(cloud: FakeAws, code: str) -> None:
    cloud["s3"].refuse("get_object", "NoSuchKey")
    cloud["s3"].refuse("put_object", code)
    with pytest.raises(TransientAwsError, match=r"other steps changed it 50 times"):
        RunStore(cloud["s3"], "artifacts", "key").update("status.json", RunStatus, with_step("Ours"))
    assert {request["IfNoneMatch"] for request in cloud["s3"].requests("put_object")} == {"*"}


def test_a_change_that_s3_refuses_is_an_error(cloud: FakeAws) -> None:
    cloud["s3"].refuse("get_object", "NoSuchKey")
    cloud["s3"].refuse("put_object", "AccessDenied")
    with pytest.raises(FineTuningError) as refused:
        RunStore(cloud["s3"], "artifacts", "key").update("status.json", RunStatus, with_step("Ours"))
    assert refused.value.code == Code.ACCESS_DENIED


def test_what_lies_below_a_prefix_is_listed(store: RunStore) -> None:
    store.write("runs/a/x.json", b"x")
    store.write("runs/b/y/z.json", b"z")
    assert list(store.folders("runs/")) == ["a", "b"]
    assert (store.is_empty("runs/a/"), store.is_empty("runs/c/")) == (False, True)


def test_the_workspace_is_the_files_below_its_prefix(store: RunStore) -> None:
    with store.workspace("runs/a/").create("rows") as into:
        into.write(b"row")
    assert store.read("runs/a/rows") == b"row"
