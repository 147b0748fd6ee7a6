"""The prompts of an evaluation, and the text in which they are sent to the endpoint."""

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field

from finetuning.datasets.templates import DEFAULT_TEMPLATE, Template, columns_in, instruction_text
from finetuning.evaluation.results import Source
from finetuning.jumpstart.catalogue import DEFAULT_FAMILY
from finetuning.jumpstart.family import Family, Message
from finetuning.lazy_model import LazyModel
from finetuning.runs.asking_limits import ANSWER_TOKENS

DEFAULT_PROMPT = "What can you help me with?"
"""Used if no rows were held out and run.json has no prompts: every endpoint is tested with at least one."""

PARAMETERS: dict[str, Any] = {
    "max_new_tokens": ANSWER_TOKENS,
    "top_p": 0.96,
    "temperature": 0.2,
    "do_sample": True,
    "seed": 10,
}
"""Near-greedy answers of moderate length, reproducible as far as the container allows. DJL LMI ignores temperature and
top_p unless `do_sample` is true."""


class OwnPrompt(LazyModel):
    """A line of the prompts that `finetune evaluate` is given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(min_length=1)
    reference: str | None = None


class HeldOutPrompt(LazyModel):
    """A line of evaluation/prompts.jsonl. `prompt` is the rendered text, ready for `inputs`."""

    model_config = ConfigDict(extra="ignore")

    prompt: str
    messages: list[dict[str, str]] | None = None
    reference: str


class Question(LazyModel):
    """A prompt as displayed (`shown`: the last user turn of a chat) and as sent to the endpoint (`inputs`)."""

    shown: str
    inputs: str
    source: Source
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
    extra: Sequence[str],
    task: str,
    template: Template | None,
    family: Family = DEFAULT_FAMILY,
) -> list[Question]:
    """The held-out prompts, then those of run.json; `DEFAULT_PROMPT` if there are none."""
    found = held_out(prompts_file or b"")
    found += [
        Question(shown=text, inputs=as_inputs(text, task, template, family=family), source="run.json") for text in extra
    ]
    if found:
        return found
    inputs = as_inputs(DEFAULT_PROMPT, task, template, family=family)
    return [Question(shown=DEFAULT_PROMPT, inputs=inputs, source="default")]


def as_inputs(
    text: str,
    task: str,
    template: Template | None = None,
    earlier: Sequence[Message] = (),
    family: Family = DEFAULT_FAMILY,
) -> str:
    """The user's text, in a chat after the `earlier` messages, in the format that a model of the family was trained on.

    For instruction tuning the text fills the template's `instruction` column, or else its first column; the others stay
    empty. For domain adaptation the text is sent unchanged, to be continued.
    """
    if task == "chat":
        return family.chat_text([*earlier, {"role": "user", "content": text}], add_generation_prompt=True)
    if task == "instruction":
        return _instruction(text, template)
    return text


def invocation(
    inputs: str, stop_token_ids: Sequence[int] = (), max_new_tokens: int = PARAMETERS["max_new_tokens"]
) -> dict[str, Any]:
    """The body of an InvokeEndpoint request to a JumpStart Llama endpoint.

    With `details` DJL LMI reports why the text ended: `details.finish_reason` is "length" if it was cut off.
    `stop_token_ids`: the tokens that also end the text (`stop_tokens`).
    """
    stops = {"stop_token_ids": [*stop_token_ids]} if stop_token_ids else {}
    return {"inputs": inputs, "parameters": {**PARAMETERS, "max_new_tokens": max_new_tokens, "details": True, **stops}}


def completion(
    inputs: str, stops: Sequence[str] = (), max_new_tokens: int = PARAMETERS["max_new_tokens"]
) -> dict[str, Any]:
    """The body of an InvokeModel request to an imported model, in the form of OpenAI's completions: the rendered text,
    whatever chat template Bedrock may have for the model. `stops`: the texts that also end the answer (`stop_texts`).
    """
    stop = {"stop": [*stops]} if stops else {}
    sampling = {name: PARAMETERS[name] for name in ("temperature", "top_p", "seed")}
    return {"prompt": inputs, "max_tokens": max_new_tokens, **sampling, **stop}


def stop_texts(task: str, family: Family = DEFAULT_FAMILY) -> tuple[str, ...]:
    """The same as `stop_tokens`, as texts: OpenAI's completions know no numbers of tokens."""
    return family.stop_texts if task == "chat" else ()


def stop_tokens(task: str, family: Family = DEFAULT_FAMILY) -> tuple[int, ...]:
    """The tokens at which an answer ends. A base model's `generation_config` names end-of-text alone, and the turns of
    a chat that it was trained on end with another token: without these its answers run to the limit.
    """
    return family.stop_token_ids if task == "chat" else ()


def _instruction(text: str, template: Template | None) -> str:
    template = template or DEFAULT_TEMPLATE
    columns = columns_in(template["prompt"])
    filled = "instruction" if "instruction" in columns else next(iter(columns), None)
    return instruction_text(template, {column: text if column == filled else "" for column in columns})
