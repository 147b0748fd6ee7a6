"""What a training is predicted to take, with its assumptions said."""

from typing import Any

import pytest

from finetuning.datasets.detection import Detection, Format
from finetuning.jumpstart.assumptions import Price
from finetuning.planning.estimate import estimate, tokens_in
from finetuning.runs.plan import DataFile
from tests.builders.jumpstart import LLAMA

MODEL, G5 = LLAMA + "8b", "ml.g5.12xlarge"


def test_time_is_start_up_and_tokens_by_speed_and_money_is_time_by_price() -> None:
    predicted = estimate(MODEL, G5, 1_500_000, "counted", 2, Price(10.0, "a list"))
    assert predicted.seconds == 900 + 2 * 1000
    assert predicted.usd == pytest.approx(2900 / 3600 * 10, abs=0.01)
    text = " ".join(predicted.assumptions)
    for part in ("1,500,000 tokens", "counted", "1500 tokens/s", "assumed", "10.00 USD per hour (a list)"):
        assert part in text


def test_without_the_datas_size_the_start_alone_is_a_lower_bound() -> None:
    predicted = estimate(MODEL, G5, None, "", 5, None)
    assert (predicted.tokens, predicted.seconds, predicted.usd) == (None, 900, None)


def test_an_instance_nobody_has_figures_for_is_not_guessed_at() -> None:
    predicted = estimate(MODEL, "ml.new.xlarge", 1000, "counted", 1, None)
    assert (predicted.seconds, predicted.usd) == (None, None)
    assert "unknown throughput" in predicted.assumptions[1]


def file_of(**detected: Any) -> DataFile:
    return DataFile(key="runs/demo/data", version_id="v1", size=400, etag="e", detection=Detection(**detected))


def test_compressed_files_hold_more_than_their_size() -> None:
    assert tokens_in([file_of()]) == 100
    assert tokens_in([file_of(compressed=True)]) == tokens_in([file_of(format=Format.PARQUET)]) == 400
