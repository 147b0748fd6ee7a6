"""Warnings about a training that would start, and probably not train well."""

from typing import Any

import pytest

from finetuning.jumpstart.catalogue import support
from finetuning.planning.cautions import check_batches, check_learning_rate
from finetuning.planning.checklist import Checklist
from finetuning.planning.planner import complete
from finetuning.runs.plan import DatasetSummary, RunPlan
from finetuning.runs.status import Check
from tests.builders.jumpstart import LLAMA, any_spec, planned

EIGHT_B, SEVENTY_B = LLAMA + "8b", LLAMA + "70b"
ROWS_OF_1000 = {"max_input_length": 1000, "per_device_train_batch_size": 2}


def plan_of(tokens: int = 10**6, model: str = EIGHT_B, **run_json: Any) -> RunPlan:
    """The completed plan of a chat with so many tokens."""
    plan, findings = planned({"model": model, "accept_eula": True, **run_json})
    assert findings == []
    return complete(
        plan, any_spec(model), "chat", DatasetSummary(train_rows=90, validation_rows=10, train_tokens=tokens)
    )


def warnings(plan: RunPlan, check: str) -> list[Check]:
    found = [each for each in plan.checks if each.check == check]
    assert all(each.is_warning for each in found)
    return found


def test_data_that_does_not_fill_a_batch_for_every_gpu_is_a_warning() -> None:
    training = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": []}
    short = plan_of(7_999, hyperparameters=ROWS_OF_1000, training=training)
    (warning,) = warnings(short, "batches")
    assert warning.message == (
        "The data may be too little: 7,999 tokens fill 7 blocks of 1,000 (max_input_length), and an epoch needs at "
        "least 8 on ml.g5.12xlarge (4 GPUs × 2). Training may end without a step."
    )
    assert warning.fix == (
        "Add data (at least 8,000 tokens), or lower max_input_length or per_device_train_batch_size."
    )
    assert warnings(plan_of(8_000, hyperparameters=ROWS_OF_1000, training=training), "batches") == []


def test_only_the_types_with_too_many_gpus_are_named() -> None:
    training: dict[str, Any] = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": ["ml.g5.48xlarge"]}
    (warning,) = warnings(plan_of(15_999, hyperparameters=ROWS_OF_1000, training=training), "batches")
    assert "15,999 tokens fill 15 blocks" in warning.message
    assert "needs at least 16 on ml.g5.48xlarge (8 GPUs × 2). " in warning.message
    (both,) = warnings(plan_of(5_000, hyperparameters=ROWS_OF_1000, training=training), "batches")
    assert "at least 8 on ml.g5.12xlarge (4 GPUs × 2), 16 on ml.g5.48xlarge (8 GPUs × 2). " in both.message
    assert "at least 16,000 tokens" in both.fix
    training["fallback_instance_types"] = ["ml.g4dn.12xlarge", "ml.g5.48xlarge"]
    (grouped,) = warnings(plan_of(5_000, hyperparameters=ROWS_OF_1000, training=training), "batches")
    assert "at least 8 on ml.g5.12xlarge, ml.g4dn.12xlarge (4 GPUs × 2), 16 on ml.g5.48" in grouped.message


def test_a_model_that_is_not_sharded_needs_one_batch_however_many_gpus_it_lies_on() -> None:
    training = {"instance_type": "ml.g5.48xlarge", "fallback_instance_types": []}
    (warning,) = warnings(plan_of(1_999, SEVENTY_B, hyperparameters=ROWS_OF_1000, training=training), "batches")
    assert "fill 1 block of 1,000 " in warning.message
    assert "at least 2 on ml.g5.48xlarge (a batch of 2). " in warning.message
    assert warnings(plan_of(2_000, SEVENTY_B, hyperparameters=ROWS_OF_1000), "batches") == []


def test_a_type_of_unknown_gpus_is_passed_over() -> None:
    training = {"instance_type": "ml.g5.12xlarge", "fallback_instance_types": ["ml.g5.48xlarge"]}
    first, second = plan_of(5_000, hyperparameters=ROWS_OF_1000, training=training).training.options
    checklist = Checklist()
    check_batches(support(EIGHT_B), [first.model_copy(update={"instance_type": "ml.new.large"}), second], checklist)
    (warning,) = checklist.checks
    assert "needs at least 16 on ml.g5.48xlarge (8 GPUs × 2). " in warning.message


def test_without_hyperparameters_the_catalogues_batch_and_no_learning_rate_are_judged() -> None:
    model, plan = support(EIGHT_B), plan_of(100, hyperparameters={"epoch": 3})
    option = plan.training.options[0].model_copy(update={"hyperparameters": {}})
    checklist = Checklist()
    check_batches(model, [option], checklist)
    check_learning_rate(option, checklist)
    (warning,) = checklist.checks
    assert f"at least {model.train_batch} on ml.g5.12xlarge (a batch of {model.train_batch})" in warning.message


def test_data_of_unknown_size_is_not_judged() -> None:
    unseen, _ = planned({"model": EIGHT_B, "accept_eula": True}, head=None)
    assert warnings(unseen, "batches") == []


def test_only_counted_tokens_are_judged_not_the_size_of_files() -> None:
    """Data that is then refused would be called too little besides."""
    plan = planned({"model": EIGHT_B, "accept_eula": True}, size=1_000)[0]
    assert warnings(plan, "batches") == []
    few = DatasetSummary(train_rows=90, validation_rows=10, train_tokens=263)
    (warning,) = warnings(complete(plan, any_spec(EIGHT_B), "chat", few), "batches")
    assert "263 tokens" in warning.message


@pytest.mark.parametrize(
    ("rate", "epochs", "warned"),
    [(2e-4, 3, True), (2e-4, 2, True), (2e-4, 1, False), (1.9e-4, 3, False), ("5e-4", "2", True)],
)
def test_a_high_learning_rate_over_several_epochs_is_a_warning(rate: float, epochs: int, warned: bool) -> None:
    plan = plan_of(hyperparameters={"learning_rate": rate, "epoch": epochs})
    assert bool(warnings(plan, "learning rate")) is warned


def test_the_warning_of_a_learning_rate_says_what_happened_and_what_to_set() -> None:
    (warning,) = warnings(plan_of(hyperparameters={"learning_rate": 0.001, "epoch": 3}), "learning rate")
    assert warning.message == (
        "A learning rate of 0.001 over 3 epochs is high: with 0.0002 over 3 epochs a model of 3 billion parameters "
        'answered "." to everything.'
    )
    assert warning.fix == "Lower learning_rate (0.0001 is JumpStart's default), or set epoch to 1."
