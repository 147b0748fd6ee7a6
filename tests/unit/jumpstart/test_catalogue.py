"""Which models and tasks are offered."""

import pytest

from finetuning.errors import FineTuningError
from finetuning.jumpstart.assumptions import assumptions, fallback_price, has_only_local_storage, upper_bound
from finetuning.jumpstart.catalogue import CATALOGUE, nearest, support
from finetuning.jumpstart.family import Task
from tests.builders.jumpstart import LLAMA, any_spec


def test_only_the_largest_models_have_no_instruction_tuning() -> None:
    assert len(CATALOGUE) == 14
    without = {model_id for model_id, model in CATALOGUE.items() if Task.INSTRUCTION not in model.tasks}
    assert without == {LLAMA + "405b-fp8", LLAMA + "405b-instruct-fp8"}
    assert all({Task.CHAT, Task.DOMAIN_ADAPTATION} <= set(model.tasks) for model in CATALOGUE.values())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("meta-textgeneration-llama-3.1-8b-instruct", LLAMA + "8b-instruct"),
        ("meta-textgeneration-llama-3-1-405b", LLAMA + "405b-instruct-fp8"),
        ("meta-textgeneration-llama-3-1-70b-instuct", LLAMA + "70b-instruct"),
    ],
)
def test_a_mistyped_model_gets_the_nearest(written: str, meant: str) -> None:
    with pytest.raises(FineTuningError) as refused:
        support(written)
    assert refused.value.fix == f"Did you mean {meant}?"


def test_a_model_like_no_other_gets_the_list() -> None:
    with pytest.raises(FineTuningError) as refused:
        support("gpt-2")
    assert refused.value.fix == f"Choose one of {', '.join(CATALOGUE)}."
    assert refused.value.field == "model"
    assert nearest("", CATALOGUE) is None


def test_what_is_assumed_is_dated_and_covers_every_supported_training() -> None:
    assert assumptions().as_of == "2026-11-23"
    for model_id in CATALOGUE:
        for instance_type in any_spec(model_id).supported_training_instance_types:
            assert upper_bound(CATALOGUE[model_id].parameters, instance_type, sharded=False)
            price = fallback_price(instance_type, "training")
            assert price is not None
            assert "assumed" in price.source
            assert has_only_local_storage(instance_type)
        for instance_type in any_spec(model_id).supported_inference_instance_types:
            assert fallback_price(instance_type, "hosting")


@pytest.mark.parametrize(
    ("written", "meant"), [("Meta Textgeneration / Llama 3-8", "meta-textgeneration-llama-3-8b-instruct")]
)
def test_a_name_in_other_letters_and_signs_is_found_by_its_beginning(written: str, meant: str) -> None:
    assert nearest(written, CATALOGUE) == meant


def test_a_task_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(FineTuningError) as refused:
        support(LLAMA + "405b-fp8").require(Task.INSTRUCTION)
    assert "chat, domain_adaptation" in refused.value.fix
