"""A new account: ten functions may run at a time, in all. Five runs at once get through."""

from concurrent.futures import ThreadPoolExecutor

from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

RUNS = 5


def test_ten_concurrent_executions_carry_five_runs_at_once(product: Product) -> None:
    names = [any_name("new-account") for _ in range(RUNS)]
    product.emulator.inject("throttled-account", times=100_000)
    with ThreadPoolExecutor(RUNS) as pool:
        run_ids = list(pool.map(lambda name: product.submit(b"".join(any_chats(4)), name=name), names))
    ended = [product.ended(run_id, seconds=600) for run_id in run_ids]
    assert [status["state"] for status in ended] == ["succeeded"] * RUNS, [status["error"] for status in ended]
