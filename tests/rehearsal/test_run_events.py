"""What other software gets to know of a run's end: the event on the default bus, by the documented patterns."""

import json
import time
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from finetuning.runs.uploads import upload_of
from rehearsal.running import PROJECT
from tests.rehearsal.support.mailbox import EventQueue
from tests.rehearsal.support.product import Product, any_chats

CHATS = b"".join(any_chats())
SCHEMA = json.loads((PROJECT / "docs" / "run-event.schema.json").read_text(encoding="utf-8"))


def documented(pattern: str) -> Any:
    """A pattern of docs/operating.md."""
    document = (PROJECT / "docs" / "operating.md").read_text(encoding="utf-8")
    block = document.partition(f"<!-- {pattern}: begin -->")[2].partition(f"<!-- {pattern}: end -->")[0]
    return json.loads(block.replace("```json", "").replace("```", ""))


def refused(product: Product) -> str:
    return product.submit(b"not JSON\n" * 20)


def trained(product: Product) -> str:
    return product.submit(CHATS)


def not_taken(product: Product) -> str:
    """A run that succeeds, although EventBridge takes none of the tries to send its event."""
    run_id = product.submit(CHATS)
    product.emulator.inject("event-not-taken", match=run_id, times=4)
    return run_id


def aborted(product: Product) -> str:
    run_id = product.submit_training()
    product.emulator.client("stepfunctions").stop_execution(executionArn=product.until_started(run_id))
    return run_id


RUNS: dict[str, Callable[[Product], str]] = {
    "refused": refused, "trained": trained, "not taken": not_taken, "aborted": aborted,
}  # fmt: skip


@pytest.fixture(scope="module")
def queues(product: Product) -> dict[str, EventQueue]:
    """Queues that subscribe to all ends in this stage, and to those by AWS's own event."""
    ours, native = documented("pattern"), documented("native pattern")
    ours["detail"] = {"stage": ["dev"]}
    native["detail"]["stateMachineArn"] = [product.state_machine]
    return {"ours": EventQueue.open(product.emulator, ours), "native": EventQueue.open(product.emulator, native)}


@pytest.fixture(scope="module")
def ended(product: Product, queues: dict[str, EventQueue]) -> dict[str, dict[str, Any]]:
    """status.json of each run after its execution has ended."""
    run_ids = {kind: start(product) for kind, start in RUNS.items()}
    for run_id in run_ids.values():
        for execution in product.executions_of(run_id):
            product.execution_ended(execution)
    return {kind: product.ended(run_id) for kind, run_id in run_ids.items()}


@pytest.fixture(scope="module")
def events(queues: dict[str, EventQueue], ended: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The event about each run for which one came."""
    found = {event["detail"]["run_id"]: event for event in queues["ours"].events()}
    assert len(found) == len(queues["ours"].events())
    return {kind: found[status["run_id"]] for kind, status in ended.items() if status["run_id"] in found}


def test_every_end_that_a_step_reports_sends_one_event(events: dict[str, dict[str, Any]]) -> None:
    assert events.keys() == {"refused", "trained"}
    for event in events.values():
        jsonschema.validate(event["detail"], SCHEMA, format_checker=jsonschema.FormatChecker())


def test_a_succeeded_run_is_told_as_its_status_has_it(
    product: Product, ended: dict[str, dict[str, Any]], events: dict[str, dict[str, Any]]
) -> None:
    status, event = ended["trained"], events["trained"]
    detail = event["detail"]
    assert (detail["state"], detail["endpoint"], detail["error_code"]) == ("succeeded", None, None)
    assert detail["verdict"] == status["verdict"]
    assert detail["training_cost_usd"] == status["cost"]["actual_usd"]
    assert detail["model_package_arn"] == status["model_package"]
    assert event["resources"] == [status["execution_arn"], product.state_machine]
    bucket, _, key = detail["report_s3_uri"].removeprefix("s3://").partition("/")
    page = product.emulator.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert status["run_id"].encode() in page


def test_a_failed_run_has_its_code_and_none_of_its_data(events: dict[str, dict[str, Any]]) -> None:
    detail = events["refused"]["detail"]
    assert (detail["state"], detail["failed_step"]) == ("failed", "FinishDataset")
    assert detail["error_code"] == "DATASET_REFUSED"
    assert "not JSON" not in json.dumps(detail)


def test_a_run_succeeds_although_eventbridge_takes_no_event(
    product: Product, ended: dict[str, dict[str, Any]], events: dict[str, dict[str, Any]]
) -> None:
    run_id = ended["not taken"]["run_id"]
    assert ended["not taken"]["state"] == "succeeded"
    assert product.errors_of(run_id) == {"EventBridge.FailedEntry"}
    (execution,) = product.executions_of(run_id)
    assert execution["status"] == "SUCCEEDED"


def test_an_aborted_run_is_known_by_step_functions_own_event(
    queues: dict[str, EventQueue], ended: dict[str, dict[str, Any]]
) -> None:
    deadline = time.monotonic() + 10
    while not (native := queues["native"].events()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (event,) = native
    upload = upload_of(event["detail"]["input"])
    assert upload is not None
    assert upload.run_id == ended["aborted"]["run_id"]
