"""What a training is predicted to take, with its assumptions said."""

from datetime import UTC, datetime
from typing import Any

import pytest

from finetuning.datasets.formats import Detection, Format
from finetuning.datasets.tokens import assumed_tokens
from finetuning.jumpstart.assumptions import Price, assumptions, upper_bound
from finetuning.jumpstart.catalogue import CATALOGUE, support
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.planning import estimate as estimates
from finetuning.planning.estimate import estimate, tokens_in, what_fits
from finetuning.runs.plan import DataFile, Measurement
from tests.builders.jumpstart import LLAMA, any_spec

MODEL, G5 = support(LLAMA + "8b"), "ml.g5.12xlarge"
SHARDED = {"enable_fsdp": "True"}
MEASURED = Measurement(
    tokens_per_second=2000, start_seconds=500, run_id="pirate-1", measured_at=datetime(2026, 11, 1, tzinfo=UTC)
)


def test_time_is_start_up_plus_tokens_by_throughput_and_cost_is_time_by_price() -> None:
    predicted = estimate(MODEL, G5, 1_280_000, "counted", {"epoch": "2", **SHARDED}, Price(10.0, "a list"))
    assert predicted.seconds == 900 + 2 * 1000
    assert predicted.usd == 8.06, "2900 s at 10 USD per hour, in cents"
    assert predicted.tokens_from == "counted"  # pragma: allowlist secret
    assert predicted.speed_from == f"computed, assumed {assumptions().as_of}, not measured"
    text = " ".join(predicted.assumptions)
    for part in ("1,280,000 tokens", "counted", "1280 tokens/s", "not measured", "10.00 USD per hour (a list)"):
        assert part in text


def test_what_an_earlier_run_took_is_used_and_named() -> None:
    predicted = estimate(MODEL, G5, 1_000_000, "counted", SHARDED, None, MEASURED)
    assert predicted.seconds == 500 + 500
    assert predicted.speed_from == "measured by pirate-1 on 2026-11-01"
    assert predicted.assumptions[1] == (
        "2000 tokens/s on ml.g5.12xlarge after 500 s of start-up (measured by pirate-1 on 2026-11-01)"
    )


@pytest.mark.parametrize(
    ("model", "instance_type", "sharded", "tokens_per_second"),
    [
        # Share of peak × TFLOP/s × GPUs at work ÷ (6 × parameters), of which half is planned with.
        ("3-1-8b", "ml.g5.12xlarge", True, 2557),
        ("3-1-70b", "ml.g5.48xlarge", False, 92.5),
        ("3-1-70b", "ml.p4d.24xlarge", False, 412.5),
        ("3-1-405b-fp8", "ml.p5.48xlarge", False, 255.8),
        ("3-2-1b", "ml.g5.2xlarge", False, 4140),
    ],
)
def test_the_throughput_follows_from_the_card_and_the_size_of_the_model(
    model: str, instance_type: str, sharded: bool, tokens_per_second: float
) -> None:
    supported = support("meta-textgeneration-llama-" + model)
    bound = upper_bound(supported.parameters, instance_type, sharded=sharded)
    assert bound == pytest.approx(tokens_per_second, rel=0.01)
    predicted = estimate(supported, instance_type, 1, "counted", SHARDED if sharded else {}, None)
    assert predicted.tokens_per_second == pytest.approx(tokens_per_second / 2, rel=0.01)


def test_every_model_has_a_prediction_on_every_type_it_can_be_trained_on() -> None:
    for model_id in CATALOGUE:
        spec = any_spec(model_id)
        for instance_type in spec.supported_training_instance_types:
            values, _ = merge(spec, instance_type, Task.CHAT, {})
            assert estimate(support(model_id), instance_type, 10, "counted", values, None).seconds, instance_type


def test_without_the_datas_size_the_start_alone_is_a_lower_bound() -> None:
    predicted = estimate(MODEL, G5, None, "", {"epoch": "1000"}, None)
    assert (predicted.tokens, predicted.seconds, predicted.usd) == (None, 900, None)


def test_on_an_unknown_card_nothing_is_guessed() -> None:
    predicted = estimate(MODEL, "ml.new.xlarge", 1000, "counted", {}, None)
    assert (predicted.seconds, predicted.usd) == (None, None)
    assert predicted.assumptions[1] == f"unknown throughput of {MODEL.model_id} on ml.new.xlarge"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4900, ""),
        (3600, 'What would fit: "epoch": 2 in hyperparameters; or "max_tokens": 860000 in data. '),
        (1900, 'What would fit: "epoch": 1 in hyperparameters; or "max_tokens": 320000 in data. '),
        (1440, 'What would fit: "max_tokens": 170000 in data. '),
        (940, 'What would fit: "max_tokens": 12000 in data. '),
        (939, ""),
        (360, ""),
    ],
)
def test_what_would_fit_is_fewer_epochs_or_a_budget_of_tokens(seconds: float, words: str) -> None:
    """All of it takes 4900 s: 900 of start-up, and 1000 for each epoch."""
    predicted = estimate(MODEL, G5, 1_280_000, "counted", {"epoch": "4", **SHARDED}, None)
    assert what_fits(predicted, seconds, {}) == words


def test_a_type_on_which_all_of_it_fits_is_named_with_time_and_cost() -> None:
    predicted = estimate(MODEL, G5, None, "counted", SHARDED, None)
    other = estimate(MODEL, "ml.g5.48xlarge", 2_560_000, "counted", SHARDED, Price(20.36, "a list"))
    assert what_fits(predicted, 60, {"ml.g5.48xlarge": other}) == (
        "What would fit: ml.g5.48xlarge (about 0.5 h, 10.75 USD). "
    )
    unpriced = estimate(MODEL, G5, 1_280_000 * 36_000, "counted", SHARDED, None)
    assert what_fits(predicted, 60, {G5: unpriced}) == f"What would fit: {G5} (about 10000.2 h). "


def file_of(**detected: Any) -> DataFile:
    return DataFile(key="runs/demo/data", version_id="v1", size=400, etag="e", detection=Detection(**detected))


def test_compressed_files_hold_more_than_their_size() -> None:
    assert tokens_in([file_of()]) == assumed_tokens(400) == 105
    assert tokens_in([file_of(compressed=True)]) == tokens_in([file_of(format=Format.PARQUET)]) == assumed_tokens(1600)


def test_a_model_without_a_known_start_up_time_is_estimated_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = assumptions().model_copy(update={"training_start_seconds": {}})
    monkeypatch.setattr(estimates, "assumptions", lambda: known)
    predicted = estimate(MODEL, G5, 1_280_000, "counted", SHARDED, None)
    assert predicted.seconds == 1000
    assert "after 0 s of start-up" in predicted.assumptions[1]
