"""Rows as the model sees them: JumpStart's instruction template, and its family's chat template."""

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from finetuning.datasets.encoding import BOM, wide_encoding
from finetuning.errors import Code, FineTuningError
from finetuning.jumpstart.catalogue import FAMILIES


@with_config(ConfigDict(extra="forbid", strict=True))
class Template(TypedDict):
    """How a row of columns becomes a prompt and its completion. Each `{column}` is filled from the row; `{{` and `}}`
    are braces.
    """

    prompt: Annotated[str, Field(min_length=1, description="What the model is asked, with {column} for each value.")]
    completion: Annotated[str, Field(min_length=1, description="What the model learns to answer, as the prompt.")]


TEMPLATE_FIX = (
    'Write {"prompt": "… {column} …", "completion": "{column}"}, where each {column} is a column of the data, without '
    ". [ ! or : in its name. Write a brace that is text twice: {{ }}."
)


DEFAULT_TEMPLATE: Template = {
    "prompt": (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}\n\n### Input:\n{context}"
    ),
    "completion": "{response}",
}
"""JumpStart's own, used if the upload has none."""

RESPONSE_MARK = "\n\n### Response:\n"
"""What JumpStart puts between an instruction and its response. A prompt at inference ends with it."""

TEMPLATE_FILE = "template.json"
"""Its name beside the data, in an upload and in the training channel."""

MAX_TEMPLATE_BYTES = 64 << 10
"""Of a template, which has two texts."""


def read_template(document: bytes) -> Template:
    """Reads a template.json. Raises `FineTuningError` (TEMPLATE_INVALID) if it is not `{prompt, completion}`."""
    if len(document) > MAX_TEMPLATE_BYTES:
        raise _invalid(f"template.json is larger than {MAX_TEMPLATE_BYTES:,} bytes.")
    if encoding := wide_encoding(document):
        raise FineTuningError(Code.TEMPLATE_INVALID, f"template.json is {encoding}, not UTF-8.", "Save it as UTF-8.")
    try:
        return TypeAdapter(Template).validate_json(document.removeprefix(BOM))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _invalid(
            f"template.json must have exactly the fields prompt and completion, both texts: {wrong}."
        ) from error


def template_columns(template: Template) -> list[str]:
    """The columns a template names, in order of first use. Raises `FineTuningError` (TEMPLATE_INVALID)."""
    named = columns_in(template["prompt"]) + columns_in(template["completion"])
    if not named:
        raise _invalid("The template has no {column}, so every row would be the same.")
    return list(dict.fromkeys(named))


def columns_in(text: str) -> list[str]:
    """The columns named in one of the two texts of a template.

    Raises `FineTuningError` (TEMPLATE_INVALID) for what `str.format` reads as more than a name: attributes, items,
    positions, conversions, formats.
    """
    try:
        fields = [field for field in Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise _invalid(f"The braces of the template do not match: {error}.") from error
    for _, name, format_, conversion in fields:
        if not name:
            raise _invalid("The template has {} without a column name.")
        if format_ or conversion or name.isdecimal() or "." in name or "[" in name:
            written = name + (f"!{conversion}" if conversion else "") + (f":{format_}" if format_ else "")
            raise _invalid(f"The template has {{{written}}}, which is more than a column name.")
    return [str(name) for _, name, _, _ in fields]


def _invalid(message: str) -> FineTuningError:
    return FineTuningError(Code.TEMPLATE_INVALID, message, TEMPLATE_FIX)


def fill(text: str, row: Mapping[str, object]) -> str:
    """Replaces each `{column}` by the row's value, in a text that `columns_in` has read. Braces in values stay as they
    are.
    """
    return text.format_map(row)


def instruction_text(template: Template, row: Mapping[str, object]) -> str:
    """The prompt of an instruction row as the model gets it at inference: everything before the response."""
    return fill(template["prompt"], row) + RESPONSE_MARK


def rendered(row: Mapping[str, Any], template: Template | None, family: str) -> str:
    """A converted row as a model of the family sees it in training."""
    if "dialog" in row:
        return FAMILIES[family].chat_text(row["dialog"], add_generation_prompt=False)
    if template:
        return instruction_text(template, row) + fill(template["completion"], row)
    return str(row["text"])
