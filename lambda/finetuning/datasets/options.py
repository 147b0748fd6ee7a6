"""What a user chooses about the data of a run."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetuning.datasets.templates import DEFAULT_TEMPLATE, Template
from finetuning.jumpstart.family import Task


class DataOptions(BaseModel):
    """How rows are read, checked and divided. These are fields of run.json; plan.json and the preparation keep them.

    Task and template are among them, because which rows are usable depends on both. `task` is what was asked for; what
    a run trains is settled from it and the data (`Resolution.task`).
    """

    model_config = ConfigDict(frozen=True, strict=True, use_attribute_docstrings=True)

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

    def template_for(self, task: Task | None) -> Template | None:
        """The template for rows of the task: the user's or JumpStart's for instructions, else None."""
        return (self.template or DEFAULT_TEMPLATE) if task is Task.INSTRUCTION else None
