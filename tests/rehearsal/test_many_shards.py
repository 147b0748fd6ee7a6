"""An upload with as many shards as 20 GB would have, a duplicate in each: the same channels for any number of shards.

Shards are scaled down to the least that a stage can set, 1 MiB. The jobs fail: what is compared is their data.
"""

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest

from finetuning.settings import StageSettings
from tests.rehearsal.support.product import Product
from tests.rehearsal.support.stacks import any_name

MEBIBYTE = 1 << 20
SHARDS = -(-20 * 10**9 // StageSettings.model_fields["shard_bytes"].default)
ROW_BYTES = 3000


@pytest.fixture(scope="module")
def rows() -> list[bytes]:
    """Chats of 3 KB in `SHARDS` MiB. In each the last is the first one of all."""
    texts = [sha256(str(number).encode()).hexdigest() * (ROW_BYTES // 128) for number in range(2000)]
    per_shard = MEBIBYTE // ROW_BYTES
    found = [chat(texts, number) for number in range(SHARDS * per_shard)]
    found[per_shard - 1 :: per_shard] = [found[0]] * SHARDS
    return found


def chat(texts: list[str], number: int) -> bytes:
    asked, answered = texts[number % len(texts)], texts[number * 7 % len(texts)]
    messages = [
        {"role": "user", "content": f"{number}: {asked}"},
        {"role": "assistant", "content": f"{number}! {answered}"},
    ]
    return json.dumps({"messages": messages}).encode() + b"\n"


@pytest.fixture
def planner(product: Product) -> Iterator[str]:
    """The function that cuts files into shards, put back as it was."""
    api, name = product.emulator.client("lambda"), product.function("plan_shards")
    before = api.get_function_configuration(FunctionName=name)["Environment"]
    yield name
    api.update_function_configuration(FunctionName=name, Environment=before)


def test_one_shard_and_as_many_as_20_gb_have_give_the_same_bytes(
    product: Product, planner: str, rows: list[bytes]
) -> None:
    data, api = b"".join(rows), product.emulator.client("lambda")
    environment = api.get_function_configuration(FunctionName=planner)["Environment"]
    written: dict[int, dict[str, str]] = {}
    for shards in (1, 2, 8, SHARDS):
        variables = environment["Variables"] | {"SHARD_BYTES": str(max(MEBIBYTE, -(-len(data) // shards)))}
        api.update_function_configuration(FunctionName=planner, Environment={"Variables": variables})
        name = any_name("shards")
        product.emulator.inject("job-fails", match=name)
        run_id = product.submit(data, name=name)
        status = product.ended(run_id, seconds=300)
        assert status["error"]["code"] == "TRAINING_FAILED", status["error"]
        calls = [state for state in product.states_of(run_id) if state == "PrepareShard"]
        assert len(calls) == shards

        (joined,) = [event["message"] for event in status["events"] if event["step"] == "FinishDataset"]
        assert joined.startswith(f"{len(rows):,} lines: "), joined
        assert f" {SHARDS} duplicates, 0 errors" in joined
        written[shards] = {key: sha256(body).hexdigest() for key, body in product.channels(run_id).items()}
    assert set(written[1]) == {"train/data.jsonl", "validation/data.jsonl"}
    assert all(each == written[1] for each in written.values())
