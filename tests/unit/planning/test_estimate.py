"""What a training is predicted to take, with its assumptions said."""

from typing import Any

import pytest

from finetuning.datasets.detection import Detection, Format
from finetuning.jumpstart.assumptions import Price, assumptions
from finetuning.planning import estimate as estimates
from finetuning.planning.estimate import estimate, tokens_in
from finetuning.runs.plan import DataFile
from tests.builders.jumpstart import LLAMA

MODEL, G5 = LLAMA + "8b", "ml.g5.12xlarge"


def test_time_is_start_up_plus_tokens_by_throughput_and_cost_is_time_by_price() -> None:
    predicted = estimate(MODEL, G5, 1_500_000, "counted", 2, Price(10.0, "a list"))
    assert predicted.seconds == 900 + 2 * 1000
    assert predicted.usd == 8.06, "2900 s at 10 USD per hour, in cents"
    text = " ".join(predicted.assumptions)
    for part in ("1,500,000 tokens", "counted", "1500 tokens/s", "assumed", "10.00 USD per hour (a list)"):
        assert part in text


def test_without_the_datas_size_the_start_alone_is_a_lower_bound() -> None:
    predicted = estimate(MODEL, G5, None, "", 1000, None)
    assert (predicted.tokens, predicted.seconds, predicted.usd) == (None, 900, None)


@pytest.mark.parametrize(("model", "instance_type"), [(MODEL, "ml.new.xlarge"), ("another-model", G5)])
def test_without_figures_for_the_model_on_the_instance_type_nothing_is_guessed(model: str, instance_type: str) -> None:
    predicted = estimate(model, instance_type, 1000, "counted", 1, None)
    assert (predicted.seconds, predicted.usd) == (None, None)
    assert predicted.assumptions[1] == f"unknown throughput of {model} on {instance_type}"


def file_of(**detected: Any) -> DataFile:
    return DataFile(key="runs/demo/data", version_id="v1", size=400, etag="e", detection=Detection(**detected))


def test_compressed_files_hold_more_than_their_size() -> None:
    assert tokens_in([file_of()]) == 100
    assert tokens_in([file_of(compressed=True)]) == tokens_in([file_of(format=Format.PARQUET)]) == 400


def test_a_model_without_a_known_start_up_time_is_estimated_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = assumptions().model_copy(update={"training_start_seconds": {}})
    monkeypatch.setattr(estimates, "assumptions", lambda: known)
    predicted = estimate(MODEL, G5, 1_500_000, "counted", 1, None)
    assert predicted.seconds == 1000
    assert "after 0 s of start-up" in predicted.assumptions[1]
