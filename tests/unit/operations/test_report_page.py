"""report.html: written from whatever the run has left, early or late."""

from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from finetuning.aws.clients import client
from finetuning.aws.run_store import RunStore
from finetuning.operations.report_page import report_of, write_report
from finetuning.operations.run import Run
from finetuning.runs.layout import RunLayout
from finetuning.settings import settings
from tests.builders.runs import RUN_ID, any_dataset, any_evaluation, any_failed_status, any_plan, any_status, at

BUCKET = "artifacts"
LAYOUT = RunLayout(RUN_ID)


@pytest.fixture
def store(aws: None, environment: None) -> RunStore:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    return RunStore(s3, BUCKET, "arn:aws:kms:us-east-1:123456789012:key/k")


def page_of(store: RunStore) -> str:
    write_report(Run(RUN_ID, store=store, prefix="finetune-dev"))
    return (store.read(LAYOUT.report_page) or b"").decode()


def test_a_run_that_failed_at_once_has_a_page_with_its_error(store: RunStore) -> None:
    store.save(LAYOUT.status, any_failed_status())
    assert "Fix line 7." in page_of(store)


def test_a_finished_run_has_its_data_training_and_answers_on_the_page(store: RunStore) -> None:
    store.save(LAYOUT.status, any_status())
    store.save(LAYOUT.plan, any_plan())
    store.save(LAYOUT.dataset_report, any_dataset())
    store.save(LAYOUT.evaluation, any_evaluation())
    page = page_of(store)
    for section in ("answers", "next", "dataset", "training", "details"):
        assert f'id="{section}"' in page


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [("faq", "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/faq/openai/v1"), ("", "")],
)
def test_the_program_for_openais_client_has_the_endpoints_address(store: RunStore, endpoint: str, address: str) -> None:
    store.save(LAYOUT.status, any_status(endpoint=endpoint))
    store.save(LAYOUT.plan, any_plan())
    store.save(LAYOUT.evaluation, any_evaluation())
    page = page_of(store)
    assert address in page
    assert ("/openai/v1" in page) == bool(endpoint)


def test_a_browser_is_told_that_it_is_a_page(store: RunStore) -> None:
    store.save(LAYOUT.status, any_status())
    write_report(Run(RUN_ID, store=store, prefix="finetune-dev"))
    head = boto3.client("s3", region_name="us-east-1").head_object(Bucket=BUCKET, Key=LAYOUT.report_page)
    assert head["ContentType"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("region", "host"),
    [("us-east-1", "artifacts.s3.amazonaws.com"), ("eu-central-1", "artifacts.s3.eu-central-1.amazonaws.com")],
)
def test_a_link_is_signed_as_kms_needs_it_for_the_buckets_own_host(
    aws: None, monkeypatch: pytest.MonkeyPatch, region: str, host: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    link = urlsplit(RunStore(client("s3"), BUCKET, "").link(LAYOUT.report_page, 12))
    query = parse_qs(link.query)
    assert (link.scheme, link.netloc, link.path) == ("https", host, "/" + LAYOUT.report_page)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["43200"]


def test_the_stage_decides_whether_a_signed_link_is_made_and_where_the_documents_are(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNED_REPORT_LINKS", "false")
    monkeypatch.setenv("DOCS_URL", "https://git.example.com/finetune/docs")
    settings.cache_clear()
    store.save(LAYOUT.status, any_failed_status())
    link = write_report(Run(RUN_ID, store=store, prefix="finetune-dev"))
    assert link.signed == ""
    assert link.console == (
        f"https://us-east-1.console.aws.amazon.com/s3/object/{BUCKET}?region=us-east-1&prefix={LAYOUT.report_page}"
    )
    page = (store.read(LAYOUT.report_page) or b"").decode()
    assert "https://git.example.com/finetune/docs/runbook.md#dataset_refused" in page


def test_the_page_has_the_plan_and_commands_for_its_stage(store: RunStore) -> None:
    store.save(LAYOUT.status, any_status())
    store.save(LAYOUT.plan, any_plan())
    page = page_of(store)
    assert any_plan().model_id in page
    assert "--stage dev" in page


def test_a_redeployment_has_a_page_of_its_own_with_a_signed_link(store: RunStore) -> None:
    run = Run(RUN_ID, store=store, prefix="finetune-dev")
    store.save(LAYOUT.status, any_status())
    write_report(run)
    trained = store.read(LAYOUT.report_page)
    run.record("", redeployed_at=at(9000))
    link = write_report(run)
    assert urlsplit(link.signed).path == "/" + LAYOUT.redeployment_page
    assert link.console.endswith(LAYOUT.redeployment_page)
    assert store.read(LAYOUT.redeployment_page)
    assert store.read(LAYOUT.report_page) == trained


def test_without_an_address_of_the_documents_a_page_names_the_runbook(store: RunStore) -> None:
    store.save(LAYOUT.status, any_failed_status())
    for page in (page_of(store), report_of(Run(RUN_ID, store=store, prefix="finetune-dev"), "dev")):
        assert "docs/runbook.md explains the code." in page
        assert "runbook.md#" not in page
