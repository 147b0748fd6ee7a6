"""Which prompts the tuned model is asked, and as what text they reach the endpoint."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from finetuning.datasets.templates import DEFAULT_TEMPLATE, Template, chat_text, columns_in, instruction_text
from finetuning.jumpstart.family import Message

DEFAULT_PROMPT = "What can you help me with?"
"""Asked where nothing was held out and run.json names no prompt: an endpoint is never left unasked."""

PARAMETERS = {"max_new_tokens": 256, "top_p": 0.96, "temperature": 0.2, "do_sample": True, "seed": 10}
"""Near-greedy answers of moderate length, the same each time as far as the container can. DJL LMI ignores temperature
and top_p unless `do_sample` is true."""


class HeldOutPrompt(BaseModel):
    """A line of evaluation/prompts.jsonl. `prompt` is the rendered text, ready for `inputs`."""

    model_config = ConfigDict(extra="ignore")

    prompt: str
    messages: list[dict[str, str]] | None = None
    reference: str


class Question(BaseModel):
    """A prompt twice: as a person reads it (`shown`: a chat's last question) and as the endpoint gets it (`inputs`)."""

    shown: str
    inputs: str
    source: Literal["held-out", "run.json", "default"]
    reference: str | None = None


def held_out(prompts_file: bytes) -> list[Question]:
    """The prompts of evaluation/prompts.jsonl."""
    return [
        Question(
            shown=prompt.messages[-1]["content"] if prompt.messages else prompt.prompt,
            inputs=prompt.prompt,
            source="held-out",
            reference=prompt.reference,
        )
        for prompt in map(HeldOutPrompt.model_validate_json, prompts_file.splitlines())
    ]


def questions(
    prompts_file: bytes | None,
    own: Sequence[str],
    task: str,
    template: Template | None,
) -> list[Question]:
    """The held-out prompts, then run.json's own; one default prompt where there is neither."""
    asked = held_out(prompts_file or b"")
    asked += [Question(shown=text, inputs=as_inputs(text, task, template), source="run.json") for text in own]
    if asked:
        return asked
    inputs = as_inputs(DEFAULT_PROMPT, task, template)
    return [Question(shown=DEFAULT_PROMPT, inputs=inputs, source="default")]


def as_inputs(text: str, task: str, template: Template | None = None, system: str | None = None) -> str:
    """A person's text in the form the model was trained on.

    For an instruction the template's `instruction` column, or else its first one, takes the text, and the others stay
    empty. Domain adaptation continues the text as it is.
    """
    if task == "chat":
        turns: list[Message] = [{"role": "system", "content": system}] if system else []
        return chat_text([*turns, {"role": "user", "content": text}], add_generation_prompt=True)
    if task == "instruction":
        return _instruction(text, template)
    return text


def invocation(inputs: str, parameters: Mapping[str, Any] = PARAMETERS) -> dict[str, Any]:
    """The body of an InvokeEndpoint request to a JumpStart Llama endpoint.

    With `details` DJL LMI's answer says why the text ended: `details.finish_reason` is "length" where it was cut off.
    """
    return {"inputs": inputs, "parameters": {**parameters, "details": True}}


def _instruction(text: str, own_template: Template | None) -> str:
    template = own_template or DEFAULT_TEMPLATE
    columns = columns_in(template["prompt"])
    taker = "instruction" if "instruction" in columns else next(iter(columns), None)
    return instruction_text(template, {column: text if column == taker else "" for column in columns})
