"""What is particular to a model family: chat template, task flags, hyperparameter rules, licence."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from finetuning.errors import Code
from finetuning.jumpstart import catalogue, requests
from finetuning.jumpstart.catalogue import CATALOGUE, FAMILIES, support
from finetuning.jumpstart.families.llama3 import LLAMA_3, LLAMA_3_1, LLAMA_3_2
from finetuning.jumpstart.family import Conflict, Family, Message, ModelSupport, Task
from finetuning.jumpstart.hyperparameters import merge
from finetuning.jumpstart.requests import Hosting, TrainingJob
from tests.builders.jumpstart import BASE_70B, LLAMA, TARGET, any_spec, planned

DIALOG: list[Message] = [
    {"role": "system", "content": " Be kind. "},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ahoy\n"},
]
INSTANCE = "ml.p4d.24xlarge"


def test_llama_3_renders_the_turns_of_the_dialog_and_no_others() -> None:
    assert LLAMA_3.chat_text(DIALOG, add_generation_prompt=False) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nAhoy<|eot_id|>"
    )
    assert LLAMA_3.chat_text(DIALOG[1:2], add_generation_prompt=True) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize("family", [LLAMA_3_1, LLAMA_3_2], ids=lambda family: family.name)
def test_llama_3_1_and_3_2_open_with_a_dated_system_turn(family: Family) -> None:
    dates = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    opening = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + dates
    assert family.chat_text(DIALOG, add_generation_prompt=False).startswith(opening + "Be kind.<|eot_id|>")
    without_system = family.chat_text(DIALOG[1:], add_generation_prompt=False)
    assert without_system.startswith(opening + "<|eot_id|><|start_header_id|>user")


def test_every_model_names_a_family_and_every_name_is_one_family() -> None:
    assert {name: family.name for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}
    of_models = {model_id.split("-llama-")[1].rpartition("b")[0]: model.family for model_id, model in CATALOGUE.items()}
    assert {generation.rpartition("-")[0]: family.name for generation, family in of_models.items()} == {
        "3": "Llama 3",
        "3-1": "Llama 3.1",
        "3-2": "Llama 3.2",
    }


@pytest.mark.parametrize("model_id", CATALOGUE)
@pytest.mark.parametrize("task", Task)
def test_the_task_flags_of_every_model_break_none_of_its_familys_rules(model_id: str, task: Task) -> None:
    spec = any_spec(model_id)
    values, findings = merge(spec, spec.default_training_instance_type, task, {})
    assert findings == []
    assert values.items() >= support(model_id).family.task_flags(task).items()


SHARDED, NOT_SHARDED = support(LLAMA + "8b"), support(LLAMA + "70b")
FLAGS, METHODS = ("chat_dataset", "instruction_tuned"), ("int8_quantization", "enable_fsdp")


@pytest.mark.parametrize(
    ("model", "values", "found"),
    [
        (SHARDED, {}, []),
        (SHARDED, {"chat_dataset": "True"}, []),
        (SHARDED, {"chat_dataset": "True", "instruction_tuned": "False"}, []),
        (
            SHARDED,
            {"chat_dataset": "true", "instruction_tuned": "True"},
            [(FLAGS, "both be True", "set task to")],
        ),
        (SHARDED, {"enable_fsdp": "True"}, []),
        (SHARDED, {"int8_quantization": "False", "enable_fsdp": "True"}, []),
        (SHARDED, {"int8_quantization": "True", "enable_fsdp": "False"}, []),
        (SHARDED, {"int8_quantization": "True", "enable_fsdp": "true"}, [(METHODS, "; both is.", "Set one")]),
        (
            SHARDED,
            {"int8_quantization": "False", "enable_fsdp": "False"},
            [(METHODS, "; neither is.", "Set one")],
        ),
        (NOT_SHARDED, {"int8_quantization": "True", "enable_fsdp": "False"}, []),
        (
            NOT_SHARDED,
            {"int8_quantization": "True", "enable_fsdp": "True"},
            [(METHODS[::-1], f"{NOT_SHARDED.model_id} cannot be trained with FSDP.", "Set enable_fsdp to False")],
        ),
    ],
)
def test_llamas_rules_across_hyperparameters(
    model: ModelSupport, values: dict[str, str], found: list[tuple[tuple[str, str], str, str]]
) -> None:
    conflicts = list(LLAMA_3_1.conflicts(model, values))
    assert [conflict.hyperparameters for conflict in conflicts] == [hyperparameters for hyperparameters, _, _ in found]
    for conflict, (_, message, fix) in zip(conflicts, found, strict=True):
        assert message in conflict.message
        assert fix in conflict.fix
        assert "leave both out" in conflict.fix.lower()


@dataclass(frozen=True)
class Invented:
    """A family without a licence, with a template, flags and a rule of its own."""

    name: str = "Invented"
    licence_url: str | None = None
    architecture: str = "InventedForCausalLM"
    context: int = 8192

    def chat_text(self, messages: Iterable[Message], *, add_generation_prompt: bool) -> str:
        return "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\nassistant:" * add_generation_prompt

    def task_flags(self, task: Task) -> Mapping[str, str]:
        return {"instruction_tuned": str(task is Task.INSTRUCTION)}

    def conflicts(self, model: ModelSupport, values: Mapping[str, str]) -> Iterator[Conflict]:
        if values["epoch"] == "13":
            yield Conflict(("epoch",), f"{model.model_id} cannot be trained for 13 epochs.", "Set epoch to 12.")


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Family:
    """The family that the 70B model belongs to for the length of a test."""
    family = Invented()
    monkeypatch.setitem(catalogue.CATALOGUE, BASE_70B, replace(CATALOGUE[BASE_70B], family=family))
    monkeypatch.setitem(catalogue.FAMILIES, family.name, family)
    return family


def test_a_familys_own_rule_and_flags_are_used(invented: Family) -> None:
    values, findings = merge(any_spec(), INSTANCE, Task.INSTRUCTION, {"epoch": 13})
    assert [(finding.code, finding.field) for finding in findings] == [
        (Code.HYPERPARAMETERS_CONFLICT, "hyperparameters.epoch")
    ]
    assert values["instruction_tuned"] == "True"
    both = {"int8_quantization": "True", "enable_fsdp": "True"}
    assert merge(any_spec(), INSTANCE, Task.CHAT, both)[1] == [], "a rule of Llama's"


def test_a_family_without_a_licence_needs_no_acceptance_and_claims_none(invented: Family) -> None:
    plan, findings = planned({"model": BASE_70B})
    assert findings == []
    assert plan.accepted is None
    assert [check.message for check in plan.checks if check.check == "licence"] == ["no licence to accept"]
    hosting = Hosting(model="m", config="c", endpoint="e", instance_type=INSTANCE)
    training = requests.training_job(any_spec(), any_job(accept_eula=False), TARGET)
    base = requests.base_model(any_spec(), hosting, TARGET, accept_eula=False)
    assert "eula" not in str([training, base]).lower()


def any_job(**changes: Any) -> TrainingJob:
    job: dict[str, Any] = {
        "name": "job",
        "instance_type": INSTANCE,
        "hyperparameters": {},
        "accept_eula": True,
        "max_runtime_seconds": 3600,
        "train": "s3://bucket/train/",
        "validation": None,
        "output": "s3://bucket/out",
    }
    return TrainingJob(**job | changes)
