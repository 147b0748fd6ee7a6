"""Fifty uploads at once, ten of them delivered twice: fifty runs, each by itself, and no more at a time than may be.

Their jobs end at once, in a script that fails: what is watched is who runs beside whom, not what is learnt.
"""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from finetuning.runs.uploads import upload_of
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name, finished

UPLOADS, TWICE = 50, 10


@dataclass(frozen=True)
class Run:
    """A run of the fifty: its own word in every row, its status, and its executions, each with its history."""

    run_id: str
    word: str
    status: dict[str, Any]
    executions: list[tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def burst(product: Product) -> list[Run]:
    emulator, names = product.emulator, [any_name("burst") for _ in range(UPLOADS)]
    emulator.inject("job-fails", match="canary-burst", times=UPLOADS)
    emulator.inject("job-hangs", match="finetune canary-burst", times=UPLOADS)
    for name in names[:TWICE]:
        emulator.inject("event-duplicated", match=f"{name} run.json")
    with ThreadPoolExecutor(UPLOADS) as pool:
        run_ids = list(pool.map(lambda name: product.submit(rows_of(name), name=name), names))
    for run_id in run_ids:  # all of them, before the first of them ends
        product.until(run_id, lambda status: status.get("step") in ("TakeTurn", "DescribeTraining"), seconds=300)
    emulator.clear_faults("finetune")
    statuses = [product.ended(run_id, seconds=900) for run_id in run_ids]
    executions = executions_by_run(product)
    return [
        Run(run_id, name, status, executions[run_id])
        for run_id, name, status in zip(run_ids, names, statuses, strict=True)
    ]


def rows_of(word: str) -> bytes:
    return b"".join(any_chats(4)).replace(b"matey", word.encode())


def executions_by_run(product: Product) -> dict[str, list[tuple[dict[str, Any], list[dict[str, Any]]]]]:
    states = product.emulator.client("stepfunctions")
    found = defaultdict(list)
    for page in states.get_paginator("list_executions").paginate(stateMachineArn=product.state_machine):
        for execution in page["executions"]:
            if "canary-burst" in states.describe_execution(executionArn=execution["executionArn"])["input"]:
                ended = finished(product.emulator, execution["executionArn"], seconds=300)
                pages = states.get_paginator("get_execution_history").paginate(executionArn=ended["executionArn"])
                history = [event for page in pages for event in page["events"]]
                upload = upload_of(ended["input"])
                assert upload
                found[upload.run_id].append((ended, history))
    return found


def test_every_upload_is_one_run_that_ended(burst: list[Run]) -> None:
    assert {run.status["error"]["code"] for run in burst} == {"TRAINING_FAILED"}
    assert len({run.run_id for run in burst}) == UPLOADS


def test_an_upload_that_came_twice_has_two_executions_and_one_run(product: Product, burst: list[Run]) -> None:
    ends = [sorted(execution["status"] for execution, _ in run.executions) for run in burst]
    assert ends == [["FAILED", "SUCCEEDED"]] * TWICE + [["FAILED"]] * (UPLOADS - TWICE)
    assert {run.run_id: list(product.jobs_of(run.run_id).values()) for run in burst} == {
        run.run_id: ["Failed"] for run in burst
    }


def test_every_run_keeps_to_its_own_prefix_and_its_own_rows(product: Product, burst: list[Run]) -> None:
    s3 = product.emulator.client("s3")
    for run in burst:
        trained_on = b"".join(product.channels(run.run_id).values())
        assert run.word.encode() in trained_on
        assert trained_on.count(b"canary-burst") == trained_on.count(run.word.encode())
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket=product.artifacts, Prefix="runs/canary-burst")
    prefixes = {item["Key"].split("/")[1] for page in listed for item in page.get("Contents", [])}
    assert prefixes == {run.run_id for run in burst}


@pytest.fixture(scope="module")
def limit(product: Product) -> int:
    """How many runs the deployed stage lets go on at a time."""
    function = product.function("take_turn")
    settings = product.emulator.client("lambda").get_function_configuration(FunctionName=function)["Environment"]
    return int(settings["Variables"]["MAX_CONCURRENT_RUNS"])


def test_no_more_runs_train_at_a_time_than_the_stage_allows(burst: list[Run], limit: int) -> None:
    """Counted from the executions' own histories: from the first StartTraining to the execution's end."""
    changes: list[tuple[datetime, int]] = []
    for run in burst:
        for execution, history in run.executions:
            begun = [e["timestamp"] for e in history if name_of(e) == "StartTraining"]
            changes += [(begun[0], 1), (execution["stopDate"], -1)] if begun else []
    running, most = 0, 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    assert 1 < most <= limit


def test_every_run_beyond_the_limit_waits_for_its_turn_and_says_so(burst: list[Run], limit: int) -> None:
    waited = [
        run
        for run in burst
        if any(name_of(event) == "WaitForTurn" for _, history in run.executions for event in history)
    ]
    assert len(waited) >= UPLOADS - limit  # an upload that came twice may count twice
    for run in waited:
        messages = [event["message"] for event in run.status["events"] if event["step"] == "TakeTurn"]
        assert f"{limit} can run at a time" in messages[0]


def name_of(event: dict[str, Any]) -> str:
    return str(event.get("stateEnteredEventDetails", {}).get("name", ""))
