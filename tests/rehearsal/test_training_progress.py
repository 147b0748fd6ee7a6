"""A training as its log shows it: live progress, a line at each tenth for who has no terminal, and a measurement."""

import re
from pathlib import Path

import pytest

from finetuning.runs.layout import RunLayout, measurement
from finetuning.runs.plan import Measurement, RunPlan
from tests.rehearsal.support.product import SETTINGS, Product, any_chats
from tests.rehearsal.support.terminal import Said, Terminal

INSTANCE_TYPE = "ml.g5.48xlarge"
"""No other test trains on it, which would be measured too."""
TRAINING = {"instance_type": INSTANCE_TYPE, "fallback_instance_types": []}
EPOCHS = 40


def submitted(product: Product, epochs: int) -> str:
    hyperparameters = SETTINGS["hyperparameters"] | {"epoch": epochs}
    return product.submit(b"".join(any_chats()), training=TRAINING, hyperparameters=hyperparameters)


@pytest.fixture(scope="module")
def run_id(product: Product) -> str:
    """A run that has trained for some seconds."""
    return submitted(product, EPOCHS)


@pytest.fixture(scope="module")
def watched(product: Product, run_id: str) -> Said:
    """What `finetune watch` printed of it, into a pipe."""
    return Terminal(product.emulator, Path()).finetune("watch", run_id)


def stored(product: Product, key: str) -> bytes:
    body: bytes = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=key)["Body"].read()
    return body


def test_a_watcher_without_a_terminal_gets_a_line_at_each_tenth_at_most(watched: Said) -> None:
    assert watched.code == 0, watched.printed
    lines = [line for line in watched.printed.splitlines() if re.search(r" Epoch \d+ of 40, step \d+ of \d+, ", line)]
    shares = [int(re.search(r"\((\d+) %\)", line)[1]) for line in lines]  # type: ignore[index]
    assert len(shares) >= 2, watched.printed
    tenths = [share // 10 for share in shares]
    assert tenths == sorted(set(tenths))


def test_the_last_step_of_the_log_is_in_the_status(product: Product, run_id: str, watched: Said) -> None:
    last = product.status(run_id)["last_steps"]
    assert (last["epoch"], last["epochs"], last["step"]) == (EPOCHS, EPOCHS, last["steps"])


def test_the_training_is_measured_and_the_next_plan_uses_it(product: Product, run_id: str, watched: Said) -> None:
    model = SETTINGS["model"]
    kept = Measurement.model_validate_json(stored(product, measurement(model, INSTANCE_TYPE)))
    plan = RunPlan.model_validate_json(stored(product, RunLayout(run_id).plan))
    assert plan.dataset is not None
    job = product.emulator.client("sagemaker").describe_training_job(
        TrainingJobName=product.status(run_id)["training_job"]
    )
    took = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert kept.run_id == run_id
    assert 0 < kept.start_seconds < took
    assert kept.start_seconds + plan.dataset.train_tokens * EPOCHS / kept.tokens_per_second < took + 2
    following = submitted(product, 1)
    assert product.ended(following)["state"] == "succeeded"
    (option,) = RunPlan.model_validate_json(stored(product, RunLayout(following).plan)).training.options
    assert option.estimate.speed_from.startswith(f"measured by {run_id}")
    assert option.estimate.tokens_per_second == kept.tokens_per_second
    short = Measurement.model_validate_json(stored(product, measurement(model, INSTANCE_TYPE)))
    assert short.run_id == following  # three steps, of which the log was perhaps read only at the end
