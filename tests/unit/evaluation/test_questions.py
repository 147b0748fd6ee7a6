import json

from finetuning.datasets.templates import RESPONSE_MARK, Template, rendered
from finetuning.evaluation.questions import DEFAULT_PROMPT, as_inputs, invocation, questions, stop_tokens

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


def test_prompts_of_run_json_follow_the_held_out_ones() -> None:
    found = questions(any_prompts_file(3), ["mine", "mine too"], "chat", None)
    assert [question.source for question in found] == ["held-out"] * 3 + ["run.json"] * 2


def test_without_any_prompt_the_default_prompt_is_used() -> None:
    (question,) = questions(None, [], "domain_adaptation", None)
    assert (question.source, question.inputs, question.reference) == ("default", DEFAULT_PROMPT, None)


def test_a_chat_prompt_ends_with_the_assistant_header() -> None:
    inputs = as_inputs("Hello", "chat", earlier=[{"role": "system", "content": "Answer in Latin."}])
    assert "Answer in Latin.<|eot_id|>" in inputs
    assert inputs.endswith("Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")


def test_the_text_fills_the_instruction_column_and_other_columns_stay_empty() -> None:
    template = Template(prompt="Context: {context}\nTask: {instruction}", completion="{response}")
    assert as_inputs("Sum {up}", "instruction", template) == "Context: \nTask: Sum {up}" + RESPONSE_MARK


def test_without_an_instruction_column_the_text_fills_the_first_one() -> None:
    template = Template(prompt="Q: {question} ({topic})", completion="{answer}")
    assert as_inputs("Why?", "instruction", template) == "Q: Why? ()" + RESPONSE_MARK


def test_doubled_braces_are_literal_braces_in_training_and_in_prompts() -> None:
    template = Template(prompt="{question} {{as is}}", completion="{answer}")
    assert as_inputs("Why?", "instruction", template) == "Why? {as is}" + RESPONSE_MARK
    assert rendered({"question": "Why?", "answer": "So."}, template, "Llama 3.1") == f"Why? {{as is}}{RESPONSE_MARK}So."


def test_an_instruction_without_a_template_uses_jumpstarts() -> None:
    assert "### Instruction:\nSum up\n\n### Input:\n" in as_inputs("Sum up", "instruction")


def test_domain_adaptation_text_is_sent_unchanged() -> None:
    assert as_inputs("Revenue rose", "domain_adaptation") == "Revenue rose"


def test_sampling_is_enabled_because_temperature_is_ignored_without_it() -> None:
    assert "stop_token_ids" not in invocation("x", stop_tokens("instruction"))["parameters"]
    assert invocation("x", stop_tokens("chat"))["parameters"]["stop_token_ids"] == [128001, 128008, 128009]
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
