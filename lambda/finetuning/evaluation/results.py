"""What the tuned model answered, beside the base model and the truth: evaluation.json."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field

SCORES_EXPLAINED = (
    "ROUGE-L: how many words an answer shares with the reference in the same order (longest common subsequence), an "
    "F-measure from 0 to 1 over lower-cased words. Exact: the words are the same throughout. "
    "They show resemblance to the reference, not truth: read the answers."
)

Problem = Literal["empty", "repetitive", "error"]

SAME_WITHIN = 0.02
"""Differences of mean scores below this are called none: a word more or less in one of a few short answers."""


class Scores(BaseModel):
    """Resemblance of an answer to its reference, each 0 to 1; `SCORES_EXPLAINED` says how they are counted."""

    rouge_l: float
    exact_match: float
    """Of one answer 0 or 1, of several the share."""


class Answer(BaseModel):
    """One model's answer. `text` is the endpoint's message where `problem` is "error"."""

    text: str
    latency_ms: int
    """Milliseconds from request to complete response, the network included."""
    words: int = 0
    finished: bool | None = None
    """Whether the model ended it; False where it was cut off at the most tokens asked for, None where the container
    does not tell.
    """
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
    """`ok` is None where it could not be checked; `message` then says why."""

    check: str
    ok: bool | None
    message: str


class Comparison(BaseModel):
    """The tuned model against the base model, over the prompts with a reference that both answered.

    `tuned` and `base` are mean ROUGE-L; `better` and `worse` count the prompts on which the tuned answer has more or
    less of it.
    """

    prompts: int
    tuned: float
    base: float
    better: int
    worse: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def gain(self) -> float:
        return round(self.tuned - self.base, 3)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> Literal["better", "same", "worse"]:
        """The tuned model's; everything that judges, and everything that says so, goes by it."""
        if abs(self.gain) < SAME_WITHIN:
            return "same"
        return "better" if self.gain > 0 else "worse"


class Summary(BaseModel):
    """`tuned` and `base` are means over the prompts of the comparison; where there is none, `base` is None and `tuned`
    the mean of all its answers that have scores.
    """

    answers: int
    problems: int
    changed: int | None = None
    """Answers that differ from the base model's; None where the base model was not asked."""
    scored: int = 0
    """Prompts the means are of."""
    tuned: Scores | None = None
    base: Scores | None = None
    comparison: Comparison | None = None
    """None where no prompt has a reference and an answer of both."""
    tuned_words: int = 0
    """Length of an answer, the median; so are the next two."""
    base_words: int | None = None
    reference_words: int | None = None
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

    @property
    def has_base(self) -> bool:
        """Whether the base model was asked."""
        return any(row.base for row in self.rows)

    @property
    def has_references(self) -> bool:
        """Whether an answer could have been scored; an error has no scores for all that."""
        return any(row.reference for row in self.rows)
