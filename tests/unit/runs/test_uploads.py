"""Which run an upload is."""

import json
import re
from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.errors import Code, FineTuningError
from finetuning.runs.layout import INBOX, START_PATTERNS
from finetuning.runs.names import Names
from finetuning.runs.uploads import Upload, event_word, upload_of

SAGEMAKER_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")

KEY = 'inbox/the "best" \\ answers\n\U0001f980.jsonl'
"""A name that only a program which escapes it puts into JSON."""


def any_upload(key: str = "inbox/faq.jsonl", version_id: str = "v1") -> Upload:
    return Upload("uploads", key, version_id)


def test_the_same_upload_delivered_twice_is_one_run() -> None:
    assert any_upload().run_id == any_upload().run_id


def test_a_new_upload_of_the_same_name_is_a_new_run() -> None:
    assert any_upload(version_id="v1").run_id != any_upload(version_id="v2").run_id


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("inbox/faq.jsonl", "faq"),
        ("inbox/My FAQ (final).csv.gz", "my-faq-final"),
        ("inbox/版本.txt", "banben"),
        ("runs/Ünï cødé (1)/run.json", "uni-code-1"),
        ("inbox/(…).txt", "run"),
        ("inbox/faq.tsv", "faq"),
        ("runs/support-bot/run.json", "support-bot"),
        ("inbox/" + "x" * 80 + ".json", "x" * 24),
    ],
)
def test_a_run_is_named_after_the_file_or_the_folder(key: str, name: str) -> None:
    assert any_upload(key).name == name


@pytest.mark.parametrize(
    "key", ["faq.jsonl", "inbox/faq", "inbox/deep/faq.jsonl", "runs/a/data.jsonl", "runs/a/b/run.json"]
)
def test_a_key_outside_the_two_folders_is_refused_with_where_to_put_it(key: str) -> None:
    with pytest.raises(FineTuningError) as refusal:
        _ = any_upload(key).run_id
    assert refusal.value.code == Code.UPLOAD_NOT_FOUND
    assert "inbox/" in refusal.value.fix


PARTS = ("inbox", "runs", "run.json", "template.json", "faq", "faq.jsonl", ".hidden", "a b.csv", "")


def test_the_rule_s_patterns_match_every_key_that_starts_a_run_and_otherwise_only_deeper_folders() -> None:
    for key in ("/".join(parts) for depth in (1, 2, 3, 4) for parts in product(PARTS, repeat=depth)):
        matched = any(fnmatchcase(key, pattern) for pattern in START_PATTERNS)
        starts = any_upload(key).starts_a_run
        too_deep = key.count("/") > (1 if key.startswith(INBOX) else 2)
        assert matched == starts or (matched and too_deep), key


def test_an_execution_s_upload_is_read_from_its_input() -> None:
    """As EventBridge sends S3's events, https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html."""
    detail = {
        "version": "0",
        "bucket": {"name": "uploads"},
        "object": {"key": KEY, "size": 5, "etag": "b1946ac9", "version-id": "1", "sequencer": "1"},
        "request-id": "N4N7GDK58NMKJ12R",
        "requester": "123456789012",
        "source-ip-address": "1.2.3.4",
        "reason": "PutObject",
    }
    assert upload_of(json.dumps(detail)) == Upload("uploads", KEY, "1")
    assert (event_word(detail["requester"]), event_word(detail["request-id"])) == ("123456789012", "N4N7GDK58NMKJ12R")


@pytest.mark.parametrize("given", [None, 7, {"a": 1}, "", "a b", "arn:aws:iam::1:user/z\n", "1" * 65])
def test_a_requester_that_no_event_of_s3_has_is_left_out(given: object) -> None:
    assert event_word(given) == ""


def test_a_service_may_be_the_requester() -> None:
    assert event_word("s3.amazonaws.com") == "s3.amazonaws.com"


def test_who_uploaded_it_does_not_make_another_run_of_an_upload() -> None:
    by_event = Upload("uploads", KEY, "1", requester="123456789012", request_id="N4N7GDK58NMKJ12R")
    assert (by_event, by_event.run_id) == (any_upload(KEY, "1"), any_upload(KEY, "1").run_id)


def test_an_upload_s_event_is_read_as_that_upload() -> None:
    upload = any_upload(KEY)
    assert upload_of(json.dumps(upload.event)) == upload


@pytest.mark.parametrize(
    "given",
    ["", "{}", "[]", '"a text"', '{"bucket": "b"}', json.dumps(Upload("b", "inbox/deep/faq.jsonl", "1").event)],
)
def test_an_execution_started_with_other_input_has_no_upload(given: str) -> None:
    assert upload_of(given) is None


@given(st.text(min_size=1, max_size=200).filter(lambda text: "/" not in text), st.integers(0, 9))
def test_every_name_made_from_an_upload_is_one_that_sagemaker_takes(stem: str, attempt: int) -> None:
    names = Names("finetune-prod", any_upload(f"inbox/{stem}.jsonl").run_id)
    for name in (names.training_job(attempt), names.model, names.endpoint_config, names.endpoint, names.base):
        assert SAGEMAKER_NAME.fullmatch(name)
        assert len(name) <= 63
