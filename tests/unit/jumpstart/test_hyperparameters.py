"""Which hyperparameters a job gets, and what is said of those it cannot have."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.jumpstart.catalogue import CATALOGUE, support
from finetuning.jumpstart.family import Task
from finetuning.jumpstart.hyperparameters import MAX_VALUE_LENGTH, input_length, merge
from finetuning.jumpstart.spec import Hyperparameter
from tests.builders.jumpstart import BASE_70B, LLAMA, any_spec

P4D = "ml.p4d.24xlarge"


def findings_of(given: dict[str, Any], task: Task | None = None, model_id: str = BASE_70B) -> list[tuple[str, str]]:
    spec = any_spec(model_id)
    _, findings = merge(spec, spec.default_training_instance_type, task, given)
    return [(finding.code, finding.field) for finding in findings]


def test_the_users_value_wins_over_the_default() -> None:
    merged, findings = merge(any_spec(), P4D, None, {"epoch": 3, "learning_rate": "0.001"})
    assert (merged["epoch"], merged["learning_rate"], merged["lora_r"]) == ("3", "0.001", "8")
    assert findings == []


@pytest.mark.parametrize(
    ("task", "chat", "instruction"),
    [(Task.CHAT, "True", "False"), (Task.INSTRUCTION, "False", "True"), (Task.DOMAIN_ADAPTATION, "False", "False")],
)
def test_the_task_sets_its_flags(task: Task, chat: str, instruction: str) -> None:
    merged, _ = merge(any_spec(), P4D, task, {})
    assert (merged["chat_dataset"], merged["instruction_tuned"]) == (chat, instruction)


def test_a_flag_that_contradicts_the_task_is_a_conflict_and_one_that_agrees_is_none() -> None:
    assert findings_of({"chat_dataset": "False"}, Task.CHAT) == [
        ("HYPERPARAMETERS_CONFLICT", "hyperparameters.chat_dataset")
    ]
    assert findings_of({"chat_dataset": "True"}, Task.CHAT) == []
    assert findings_of({"chat_dataset": True}, Task.CHAT) == []


def test_a_mistyped_name_gets_the_nearest() -> None:
    _, findings = merge(any_spec(), P4D, None, {"learning_rates": 1})
    assert findings[0].fix == "Did you mean learning_rate?"


def test_a_hyperparameter_of_the_container_cannot_be_set() -> None:
    assert findings_of({"sagemaker_program": "mine.py"}) == [
        ("HYPERPARAMETER_INVALID", "hyperparameters.sagemaker_program")
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", 0),
        ("epoch", 1001),
        ("epoch", 2.5),
        ("epoch", True),
        ("epoch", "1_0"),
        ("epoch", " 1"),
        ("epoch", "٣"),
        ("epoch", 10**400),
        ("learning_rate", "nan"),
        ("learning_rate", float("inf")),
        ("learning_rate", 0),
        ("chat_dataset", "maybe"),
        ("target_modules", 5),
        ("target_modules", "x" * MAX_VALUE_LENGTH),
    ],
)
def test_a_value_out_of_type_range_or_options_is_refused_by_name(name: str, value: Any) -> None:
    assert findings_of({name: value}) == [("HYPERPARAMETER_INVALID", f"hyperparameters.{name}")]


def test_every_wrong_hyperparameter_is_named() -> None:
    assert len(findings_of({"epoch": 0, "seed": "x", "lora_r": -1, "nonsense": 1})) == 4


@pytest.mark.parametrize("value", ["True", "False"])
def test_exactly_one_of_int8_and_fsdp_is_set(value: str) -> None:
    asked = {"int8_quantization": value, "enable_fsdp": value}
    assert ("HYPERPARAMETERS_CONFLICT", "hyperparameters.int8_quantization") in findings_of(
        asked, model_id=LLAMA + "8b"
    )


def test_70b_cannot_be_sharded() -> None:
    asked = {"int8_quantization": "False", "enable_fsdp": "True"}
    for model_id in (LLAMA + "70b", LLAMA + "70b-instruct"):
        assert findings_of(asked, model_id=model_id) == [("HYPERPARAMETERS_CONFLICT", "hyperparameters.enable_fsdp")]


def test_chat_and_instruction_at_once_are_a_conflict_where_the_task_is_not_known() -> None:
    asked = {"chat_dataset": "True", "instruction_tuned": "True"}
    assert findings_of(asked) == [("HYPERPARAMETERS_CONFLICT", "hyperparameters.chat_dataset")]


@pytest.mark.parametrize(
    "given",
    [
        {"int8_quantization": "True", "enable_fsdp": "True"},
        {"int8_quantization": "False", "enable_fsdp": "False"},
        {"int8_quantization": "False", "enable_fsdp": "True", "chat_dataset": "True", "instruction_tuned": "True"},
        {"chat_dataset": "True", "instruction_tuned": "True"},
        {"chat_dataset": "False", "instruction_tuned": "True"},
    ],
)
@pytest.mark.parametrize("model_id", [LLAMA + "8b", LLAMA + "70b"])
def test_the_returned_values_have_no_conflicts(model_id: str, given: dict[str, str]) -> None:
    spec = any_spec(model_id)
    task = Task.CHAT if given.get("chat_dataset") == "False" else None
    merged, findings = merge(spec, spec.default_training_instance_type, task, given)
    assert findings
    again, conflicts = merge(spec, spec.default_training_instance_type, task, merged)
    assert (again, conflicts) == (merged, [])


EXCLUSIVE = ({"int8_quantization", "enable_fsdp"}, {"chat_dataset", "instruction_tuned"})
names = st.sampled_from([p.name for p in any_spec().hyperparameters]) | st.text(max_size=15)
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers())


@given(
    model_id=st.sampled_from(sorted(CATALOGUE)),
    task=st.sampled_from([None, *Task]),
    asked=st.dictionaries(names, values, max_size=6),
)
def test_any_mapping_gives_valid_values_and_a_finding_for_each_wrong_one(
    model_id: str, task: Task | None, asked: dict[str, Any]
) -> None:
    spec = any_spec(model_id)
    instance_type = spec.default_training_instance_type
    merged, findings = merge(spec, instance_type, task, asked)
    named = {finding.field.removeprefix("hyperparameters.") for finding in findings}
    partners = {name for pair in EXCLUSIVE if pair & named for name in pair}
    for name, value in asked.items():
        assert merged.get(name) == str(value) or name[:60] in named | partners
    assert merge(spec, instance_type, task, merged) == (merged, [])


@pytest.mark.parametrize(
    ("name", "value", "shown", "allowed"),
    [
        ("epoch", 2.5, "not 2.5", ("whole number", "from 1", "to 1000", "the default is 5.")),
        ("epoch", 0, "at least 1, not 0", ("from 1 to 1000",)),
        ("learning_rate", "fast", "not 'fast'", ("a number", "the default is 0.0001.")),
        ("chat_dataset", "maybe", "not 'maybe'", ("the default is False.",)),
        ("target_modules", 5, "not 5", ("text", "the default is ")),
        ("epoch", "x" * 58, f"not '{'x' * 58}'", ()),
        ("epoch", "x" * 59, f"not '{'x' * 56}...", ()),
    ],
)
def test_a_refused_value_is_shown_and_what_is_allowed_is_in_the_fix(
    name: str, value: Any, shown: str, allowed: tuple[str, ...]
) -> None:
    _, (finding,) = merge(any_spec(), P4D, None, {name: value})
    assert finding.message.startswith(f"{name} ")
    assert finding.message.endswith(f"{shown}.")
    assert all(part in finding.fix for part in allowed)
    assert finding.fix.startswith("Use ")


def test_a_choice_is_refused_with_its_options() -> None:
    (choice,) = [p for p in any_spec().hyperparameters if p.options and p.type == "text"][:1]
    _, (finding,) = merge(any_spec(), P4D, None, {choice.name: "none of them"})
    assert ", ".join(choice.options) in finding.message
    assert finding.fix == f"Use one of {', '.join(choice.options)}; the default is {choice.default_text}."


def test_a_name_like_no_other_is_refused_with_all_names() -> None:
    _, (finding,) = merge(any_spec(), P4D, None, {"zzz": 1})
    assert "'zzz'" in finding.message
    assert "epoch, " in finding.fix


def problem(value: Any, **parameter: Any) -> tuple[str, str]:
    """Message and fix for the value of a hyperparameter `p`; two empty texts for a good one."""
    spec = any_spec()
    own = Hyperparameter.model_validate({"name": "p", "default": 1} | parameter)
    spec = spec.model_copy(update={"hyperparameters": (*spec.hyperparameters, own)})
    _, findings = merge(spec, P4D, None, {"p": value})
    return (findings[0].message, findings[0].fix) if findings else ("", "")


GOOD = ("", "")


@pytest.mark.parametrize("value", ["true", "False", True, False, "TRUE"])
def test_a_truth_value_may_be_written_in_any_case(value: Any) -> None:
    assert problem(value, type="bool", default="True") == GOOD


def test_anything_but_a_truth_value_is_refused() -> None:
    message, fix = problem("yes", type="bool", default="True")
    assert message == "p must be true or false, not 'yes'."
    assert fix == "Use true or false; the default is True."


@pytest.mark.parametrize(
    ("bound", "good", "bad", "message"),
    [
        ({"min": 2}, 2, 1, "p must be at least 2, not 1."),
        ({"max": 2}, 2, 3, "p must be at most 2, not 3."),
        ({"exclusive_min": 2}, 3, 2, "p must be above 2, not 2."),
        ({"exclusive_max": 2}, 1, 2, "p must be below 2, not 2."),
    ],
)
def test_a_number_is_within_its_bounds(bound: dict[str, float], good: int, bad: int, message: str) -> None:
    assert problem(good, type="int", **bound) == GOOD
    assert problem(bad, type="int", **bound)[0] == message


@pytest.mark.parametrize(("kind", "expected"), [("int", "a whole number"), ("float", "a number")])
def test_anything_but_a_number_is_refused(kind: str, expected: str) -> None:
    message, fix = problem("x", type=kind)
    assert message == f"p must be {expected}, not 'x'."
    assert fix == f"Use {expected}; the default is 1."


@pytest.mark.parametrize("value", [[1], None, {"a": 1}, True, "1e999", "9" * 19])
def test_a_number_is_one_that_the_script_can_read(value: Any) -> None:
    assert problem(value, type="float" if value == "1e999" else "int") != GOOD


def test_the_length_of_a_text_is_bounded() -> None:
    assert problem("ab", type="text", min=2, max=3) == GOOD
    assert problem("a", type="text", min=2)[0] == "p must have a length at least 2, not 1."
    assert problem("abcd", type="text", min=2, max=3)[1] == "Use text from 2 to 3; the default is 1."
    assert problem("a" * (MAX_VALUE_LENGTH - 2), type="text") == GOOD
    assert str(MAX_VALUE_LENGTH) in problem("a" * (MAX_VALUE_LENGTH - 1), type="text")[0]


@pytest.mark.parametrize(("value", "good"), [("True", True), (True, True), (False, False), (1, False)])
def test_a_choice_takes_a_truth_value_only_where_it_is_an_option(value: Any, good: bool) -> None:
    assert (problem(value, type="text", options=("True", "1")) == GOOD) is good


def test_a_field_names_no_more_of_a_long_name_than_fits() -> None:
    _, (finding,) = merge(any_spec(), P4D, None, {"n" * 100: 1})
    assert finding.field == f"hyperparameters.{'n' * 60}"


@pytest.mark.parametrize(
    ("values", "length"),
    [({}, 2048), ({"max_input_length": 512}, 512), ({"max_input_length": "512"}, 512)]
    + [({"max_input_length": value}, 2048) for value in (-1, "-1", 0, "0", "")],
)
def test_the_input_length_is_the_models_unless_a_positive_one_is_set(values: dict[str, Any], length: int) -> None:
    assert input_length(values, 2048) == length


def test_a_flag_against_the_task_is_refused_with_both_and_the_familys_rule_with_its_own_words() -> None:
    _, (flag,) = merge(any_spec(), P4D, Task.CHAT, {"chat_dataset": "False"})
    assert flag.message == "chat_dataset=False contradicts the task chat."
    assert flag.fix == "Remove chat_dataset: the task sets it."
    both = {"chat_dataset": "True", "instruction_tuned": "True"}
    (rule,) = support(BASE_70B).family.conflicts(support(BASE_70B), both)
    values, (conflict,) = merge(any_spec(), P4D, None, both)
    assert (conflict.message, conflict.fix) == (rule.message, rule.fix)
    assert (values["chat_dataset"], values["instruction_tuned"]) == ("False", "False")
