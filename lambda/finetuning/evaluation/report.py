"""What the tuned model answered, beside the base model and the truth: evaluation.json."""

from typing import Literal

from pydantic import BaseModel, Field

SCORES_EXPLAINED = (
    "token_f1: how many words an answer shares with the reference, whatever their order; "
    "rouge_l: how many it shares in the same order (longest common subsequence). Both are F-measures from 0 to 1 over "
    "lower-cased words. They show resemblance to the reference, not truth: read the answers."
)

Problem = Literal["empty", "repetitive", "error"]


class Scores(BaseModel):
    """Resemblance of an answer to its reference, each 0 to 1; `SCORES_EXPLAINED` says how they are counted."""

    token_f1: float
    rouge_l: float


class Answer(BaseModel):
    """One model's answer. `text` is the endpoint's message where `problem` is "error"."""

    text: str
    latency_ms: int
    """Milliseconds from request to complete response, the network included."""
    problem: Problem | None = None
    scores: Scores | None = None
    """None without a reference, or without an answer."""


class Row(BaseModel):
    """One prompt with its answers. `prompt` is a chat's last question, else the text as the endpoint got it."""

    prompt: str
    source: Literal["held-out", "run.json", "default"]
    reference: str | None = None
    tuned: Answer
    base: Answer | None = None
    """None where the base model was not asked."""


class SmokeCheck(BaseModel):
    check: str
    ok: bool
    message: str


class Summary(BaseModel):
    """Means over the rows that have scores; None where there are none."""

    answers: int
    problems: int
    changed: int | None = None
    """Answers that differ from the base model's; None where the base model was not asked."""
    tuned: Scores | None = None
    base: Scores | None = None
    median_latency_ms: int


class EvaluationReport(BaseModel):
    """evaluation.json. `ok` is False where most of the tuned model's answers are empty, repetitive or errors."""

    ok: bool
    rows: list[Row]
    checks: list[SmokeCheck]
    summary: Summary
    scores_explained: str = SCORES_EXPLAINED
    notes: list[str] = Field(default_factory=list)
    """What a reader has to know besides: why the base model is missing, for one."""
