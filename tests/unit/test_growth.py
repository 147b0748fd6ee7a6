"""How the benchmarks measure growth: by a clock that the test turns."""

from collections.abc import Callable

import pytest

from benchmarks import growth
from benchmarks.growth import grow, print_worse


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.process_time", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "exponent", "worse"),
    [
        (lambda size: size / 1000, 1, False),
        (lambda size: size / 1000 * size.bit_length(), 1.2, False),
        (lambda size: size**1.5 / 10_000, 1.5, True),
        (lambda size: size**2 / 100_000, 2, True),
    ],
)
def test_the_exponent_of_a_time_tells_the_square_from_n_log_n(
    clock: list[float], seconds: Callable[[int], float], exponent: float, worse: bool
) -> None:
    def read(size: int) -> None:
        clock[0] += seconds(size)

    found = grow(read, 8, 1 << 20)
    assert found is not None
    assert found.exponent == pytest.approx(exponent, abs=0.1)
    assert found.is_worse_than_n_log_n == worse


def test_a_reader_that_is_disturbed_once_is_measured_again(clock: list[float]) -> None:
    calls = [0]

    def read(size: int) -> None:
        calls[0] += 1
        clock[0] += size / 1000 * (4 if calls[0] == 7 else 1)

    found = grow(read, 8, 512)
    assert calls[0] == 14
    assert found is not None
    assert found.exponent == pytest.approx(1)


def test_the_input_is_doubled_no_more_once_it_takes_long(clock: list[float]) -> None:
    sizes = []

    def read(size: int) -> None:
        sizes.append(size)
        clock[0] += growth.LONGEST / 4 * len(sizes)

    assert grow(read, 1, 1 << 40) is not None
    assert sizes == [1, 2, 4, 8]


def test_what_is_too_quick_to_tell_is_not_told(clock: list[float]) -> None:
    assert grow(lambda size: None, 1, 1 << 10) is None
    assert print_worse([("quick", None)]) == 0


def test_what_grows_too_fast_is_printed_and_fails(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def read(size: int) -> None:
        clock[0] += size**2 / 1000

    assert print_worse([("a quadratic reader", grow(read, 4, 64))]) == 1
    printed = capsys.readouterr().out
    assert "✗ n^2.00" in printed
    assert "by doubling × 4.0 4.0" in printed
    assert "a quadratic reader\n1 texts that grow, 1 worse than n log n" in printed
