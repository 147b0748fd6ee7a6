"""evaluation.json: the answers of the tuned and the base model, the references and the scores."""

from typing import Literal

from pydantic import BaseModel, Field, computed_field

SCORES_EXPLAINED = (
    "ROUGE-L: how many words the answer shares with the reference answer in the same order (longest common "
    "subsequence), as an F-measure from 0 to 1 over lower-cased words. Exact: all words are the same. "
    "Scores measure similarity to the reference answer, not correctness: read the answers."
)

Problem = Literal["empty", "repetitive", "error"]

MIN_DIFFERENCE = 0.02
"""A smaller difference of mean scores counts as none: it may be one word in one of a few short answers."""


class Scores(BaseModel):
    """Similarity of an answer to its reference, each 0 to 1; `SCORES_EXPLAINED` defines them."""

    rouge_l: float
    exact_match: float
    """0 or 1 for one answer, the share for several."""


class Answer(BaseModel):
    """One model's answer. `text` is the error message if `problem` is "error"."""

    text: str
    latency_ms: int
    """Milliseconds from request to complete response, including the network."""
    words: int = 0
    finished: bool | None = None
    """False if the answer was cut off at the token limit, None if the container does not report it."""
    problem: Problem | None = None
    scores: Scores | None = None
    """None without a reference or without an answer."""


class Row(BaseModel):
    """One prompt with its answers. `prompt` is the last user turn of a chat, otherwise the text as sent."""

    prompt: str
    source: Literal["held-out", "run.json", "default"]
    reference: str | None = None
    tuned: Answer
    base: Answer | None = None
    """None if the base model was not evaluated."""


class SmokeCheck(BaseModel):
    """`ok` is None if it could not be checked; `message` then says why."""

    check: str
    ok: bool | None
    message: str


class Comparison(BaseModel):
    """Tuned model against base model, over the prompts with a reference that both answered.

    `tuned` and `base` are mean ROUGE-L; `better` and `worse` count the prompts on which the tuned answer scores higher
    or lower.
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
        """The result for the tuned model. The gate and the verdict both use it."""
        if abs(self.gain) < MIN_DIFFERENCE:
            return "same"
        return "better" if self.gain > 0 else "worse"


class Summary(BaseModel):
    """`tuned` and `base` are means over the prompts of the comparison. Without a comparison `base` is None and `tuned`
    the mean over all its scored answers.
    """

    answers: int
    problems: int
    changed: int | None = None
    """Answers that differ from the base model's; None if the base model was not evaluated."""
    scored: int = 0
    """Number of prompts in the means."""
    tuned: Scores | None = None
    base: Scores | None = None
    comparison: Comparison | None = None
    """None if no prompt has a reference and an answer of both models."""
    tuned_words: int = 0
    """Median length of an answer, as are the next two."""
    base_words: int | None = None
    reference_words: int | None = None
    median_latency_ms: int


class EvaluationReport(BaseModel):
    """evaluation.json. `ok` is False if more than half of the tuned answers are empty, repetitive or errors."""

    ok: bool
    rows: list[Row]
    checks: list[SmokeCheck]
    summary: Summary
    scores_explained: str = SCORES_EXPLAINED
    notes: list[str] = Field(default_factory=list)
    """Remarks for the reader, such as why the base model is missing."""

    @property
    def has_base(self) -> bool:
        """True if the base model was evaluated."""
        return any(row.base for row in self.rows)

    @property
    def has_references(self) -> bool:
        """True if any prompt has a reference, even if no answer could be scored."""
        return any(row.reference for row in self.rows)
