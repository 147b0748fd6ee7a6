"""What a user chooses about the data of a run."""

from contextlib import suppress
from typing import Literal

from pydantic import ConfigDict, Field

from finetuning.datasets.templates import DEFAULT_TEMPLATE, Template, read_template, template_columns
from finetuning.errors import FineTuningError
from finetuning.jumpstart.family import Task
from finetuning.lazy_model import LazyModel


class Columns(LazyModel):
    """The columns that a user names: a question with its answer, or a text. A CSV file without a header has the columns
    `column 1`, `column 2` ….
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str | None = Field(default=None, min_length=1, max_length=200)
    """What is asked."""
    completion: str | None = Field(default=None, min_length=1, max_length=200)
    """What the model learns to answer."""
    system: str | None = Field(default=None, min_length=1, max_length=200)
    """Put before the prompt."""
    text: str | None = Field(default=None, min_length=1, max_length=200)
    """Plain text, for domain adaptation. Excludes the others."""

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for name in (self.prompt, self.completion, self.system, self.text) if name)

    @property
    def problem(self) -> str:
        """What is wrong with the choice; "" if nothing is."""
        if self.text:
            return "" if len(self.named) == 1 else "text cannot be combined with prompt, completion or system"
        return "" if self.prompt and self.completion else "it needs prompt and completion, or text"


class RowOptions(LazyModel):
    """Which columns of the data are what, and what becomes of rows that need a decision."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    columns: Columns | None = None
    """Which column is what. Default: by the names in docs/datasets.md."""
    untrained_answers: Literal["refuse", "drop", "train"] = "refuse"
    """Rows with an answer that is marked not to be learned (`weight: 0`, `train: false`, `label: false` …): errors,
    left out, or trained on.
    """
    near_duplicates: Literal["report", "drop"] = "report"
    """Training rows that nearly repeat an earlier row or a held-out one: counted, or left out too. They are counted in
    uploads of up to 128 MiB.
    """
    max_tokens: int | None = Field(default=None, ge=1, le=10**15)
    """Tokens of the training rows of one epoch: rows are used in the order of their digests, the same ones every time,
    until they have so many. Default: all rows.
    """


class DataOptions(LazyModel):
    """How rows are read, checked and divided. These are fields of run.json; plan.json and the preparation keep them.

    Task and template are among them, because which rows are usable depends on both. `task` is what was asked for; what
    a run trains is settled from it and the data (`Resolution.task`).
    """

    model_config = ConfigDict(frozen=True, strict=True)

    task: Literal["auto", "chat", "instruction", "domain_adaptation"] = "auto"
    """`auto`: as the data looks."""
    template: Template | None = None
    """For instruction tuning; a template.json beside the data says the same."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows held out to measure the model on."""
    max_error_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share of the rows that may be unusable before the run is refused."""
    repair: bool = True
    """Whether a last user turn without an answer is dropped, and counted; otherwise such a conversation is an error."""

    data: RowOptions = RowOptions()
    """Columns, and decisions about rows."""

    def template_for(self, task: Task | None) -> Template | None:
        """The template for rows of the task: the user's or JumpStart's for instructions, else None."""
        return (self.template or DEFAULT_TEMPLATE) if task is Task.INSTRUCTION else None


def named_columns(options: DataOptions, template_file: bytes | None = None) -> frozenset[str]:
    """The columns that the user names, in `data.columns` or a template. A template that is not valid names none; it is
    refused elsewhere.
    """
    columns = options.data.columns.named if options.data.columns else ()
    with suppress(FineTuningError):
        template = options.template or (read_template(template_file) if template_file else None)
        return frozenset((*columns, *(template_columns(template) if template else ())))
    return frozenset(columns)
