"""A new account: ten functions may run at a time, in all. Five runs at once get through, each with many files, and do
not get there by being refused and trying again.
"""

from concurrent.futures import ThreadPoolExecutor

from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

RUNS, FILES = 5, 12


def submit(product: Product, name: str) -> str:
    """A run of as many shards as files."""
    for number in range(FILES - 1):
        product.put(f"runs/{name}/more-{number:02}.jsonl", b"".join(any_chats(4)))
    return product.submit(b"".join(any_chats(4)), name=name)


def test_ten_concurrent_executions_carry_five_runs_at_once(product: Product) -> None:
    names = [any_name("new-account") for _ in range(RUNS)]
    product.emulator.inject("throttled-account", times=100_000)
    with ThreadPoolExecutor(RUNS) as pool:
        run_ids = list(pool.map(lambda name: submit(product, name), names))
    ended = [product.ended(run_id, seconds=600) for run_id in run_ids]
    assert [status["state"] for status in ended] == ["succeeded"] * RUNS, [status["error"] for status in ended]
    refused = [fault for fault in product.emulator.happened() if fault["fault"] == "throttled-account"]
    assert len(refused) < RUNS * FILES, "fewer than one for each shard"
    assert all(product.states_of(run_id).count("PrepareShard") >= FILES for run_id in run_ids)
