import json

from finetuning.datasets.join import rendered
from finetuning.datasets.templates import RESPONSE_MARK, Template
from finetuning.evaluation.questions import DEFAULT_PROMPT, as_inputs, invocation, questions

CHAT_PROMPT = {
    "prompt": "<|begin_of_text|>rendered",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sea salty?"}],
    "reference": "Rivers bring the salt.",
}


def any_prompts_file(count: int) -> bytes:
    return b"".join(json.dumps(CHAT_PROMPT | {"prompt": f"prompt {n}"}).encode() + b"\n" for n in range(count))


def test_a_held_out_prompt_is_sent_as_it_was_rendered_and_shown_as_its_last_turn() -> None:
    (question,) = questions(json.dumps(CHAT_PROMPT).encode(), [], "chat", None)
    assert question.inputs == "<|begin_of_text|>rendered"
    assert question.shown == "Why is the sea salty?"
    assert question.reference == "Rivers bring the salt."


def test_the_users_own_prompts_are_asked_after_the_held_out_ones() -> None:
    asked = questions(any_prompts_file(3), ["mine", "mine too"], "chat", None)
    assert [question.source for question in asked] == ["held-out"] * 3 + ["run.json"] * 2


def test_without_any_prompt_the_endpoint_is_asked_all_the_same() -> None:
    (question,) = questions(None, [], "domain_adaptation", None)
    assert (question.source, question.inputs, question.reference) == ("default", DEFAULT_PROMPT, None)


def test_a_chat_prompt_ends_where_the_assistant_is_to_speak() -> None:
    inputs = as_inputs("Hello", "chat", system="Answer in Latin.")
    assert "Answer in Latin.<|eot_id|>" in inputs
    assert inputs.endswith("Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")


def test_an_instruction_fills_the_templates_instruction_and_leaves_its_other_columns_empty() -> None:
    template = Template(prompt="Context: {context}\nTask: {instruction}", completion="{response}")
    assert as_inputs("Sum {up}", "instruction", template) == "Context: \nTask: Sum {up}" + RESPONSE_MARK


def test_an_instruction_goes_into_the_first_column_where_none_is_named_instruction() -> None:
    template = Template(prompt="Q: {question} ({topic})", completion="{answer}")
    assert as_inputs("Why?", "instruction", template) == "Q: Why? ()" + RESPONSE_MARK


def test_doubled_braces_are_braces_in_training_and_when_asked() -> None:
    template = Template(prompt="{question} {{as is}}", completion="{answer}")
    assert as_inputs("Why?", "instruction", template) == "Why? {as is}" + RESPONSE_MARK
    assert rendered({"question": "Why?", "answer": "So."}, template) == f"Why? {{as is}}{RESPONSE_MARK}So."


def test_an_instruction_without_a_template_of_its_own_takes_jumpstarts() -> None:
    assert "### Instruction:\nSum up\n\n### Input:\n" in as_inputs("Sum up", "instruction")


def test_text_to_be_continued_is_sent_as_it_is() -> None:
    assert as_inputs("Revenue rose", "domain_adaptation") == "Revenue rose"


def test_sampling_is_asked_for_because_temperature_is_ignored_without_it() -> None:
    assert invocation("x") == {
        "inputs": "x",
        "parameters": {
            "max_new_tokens": 256,
            "top_p": 0.96,
            "temperature": 0.2,
            "do_sample": True,
            "seed": 10,
            "details": True,
        },
    }
