"""200 prompts for two models at the same time, in the state machine's own Map, where functions die in the middle."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from finetuning.evaluation.asking import batches
from finetuning.runs.asking_limits import CALLS_AT_ONCE
from finetuning.runs.layout import RunLayout
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.stacks import any_name

PROMPTS = 200
KILLS = (9, 40, 90)
"""Calls of AskBatch, those that change something, after which the function that makes it is killed."""
DEPLOYED: dict[str, Any] = {
    "hyperparameters": {
        "epoch": 1, "learning_rate": 0.003, "lora_r": 4, "per_device_train_batch_size": 8, "max_input_length": 128,
    },
    "validation_fraction": 0.6,
    "endpoint": {"deploy": True},
    "evaluation": {"prompts": PROMPTS, "compare_with_base": True},
}  # fmt: skip


def any_short_chats(count: int) -> bytes:
    """Rows whose questions and answers have a few letters."""
    turns = (({"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"aye {n}"}) for n in range(count))
    return b"".join(json.dumps({"messages": each}).encode() + b"\n" for each in turns)


@pytest.fixture(scope="module")
def asked(product: Product) -> RunLayout:
    """The files of a run whose AskBatch was killed again and again, and which has succeeded."""
    name, function = any_name("many"), product.function("ask_batch")
    for after in KILLS:
        product.emulator.inject("function-killed", match=f"{function} {name}", after=after)
    run_id = product.submit(any_short_chats(400), name=name, **DEPLOYED)
    status = product.ended(run_id, seconds=900)
    assert status["state"] == "succeeded", status["error"]
    return RunLayout(run_id)


def test_functions_were_killed_while_they_asked(product: Product, asked: RunLayout) -> None:
    function = product.function("ask_batch")
    killed = [
        each for each in product.emulator.happened() if function in each["match"] and each["fault"] == "function-killed"
    ]
    assert len(killed) == len(KILLS)


def test_both_models_have_an_answer_to_each_prompt(product: Product, asked: RunLayout) -> None:
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=asked.evaluation)["Body"].read()
    rows = json.loads(body)["rows"]
    assert len(rows) == PROMPTS
    assert len({row["prompt"] for row in rows}) == PROMPTS
    assert all(row["tuned"]["problem"] != "error" and row["base"]["problem"] != "error" for row in rows)


@pytest.mark.parametrize("model", ["tuned", "base"])
def test_no_answer_that_was_kept_was_asked_for_again(product: Product, asked: RunLayout, model: str) -> None:
    for batch in batches(PROMPTS):
        kept = [each["replies"] for each in product.history(asked.answers(model, batch))]
        for before, after in pairwise(kept):
            again = {number for number, reply in before.items() if after.get(number) != reply}
            assert not again, f"prompt {again} of batch {batch} was asked again: its latency is another"


def test_only_calls_under_way_when_a_function_died_were_made_again(product: Product, asked: RunLayout) -> None:
    now = datetime.now(UTC)
    figures = product.emulator.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[
            {"Name": "EndpointName", "Value": f"finetune-dev-{asked.run_id}"},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ],
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    calls = sum(each["Sum"] for each in figures)
    assert PROMPTS <= calls <= PROMPTS + len(KILLS) * CALLS_AT_ONCE
