"""evaluation.json: the answers of the tuned and the base model, the references and the scores."""

from typing import Literal

from pydantic import Field, computed_field

from finetuning.lazy_model import LazyModel
from finetuning.runs.status import Verdict

SCORES_EXPLAINED = (
    "ROUGE-L: how many words the answer shares with the reference answer in the same order (longest common "
    "subsequence), as an F-measure from 0 to 1 over lower-cased words. Exact: all words are the same. "
    "JSON fields: the share of keys with the same value. The interval holds the mean difference with 95 % confidence "
    "(bootstrap over the prompts); if it contains 0 the difference may be chance. "
    "Scores measure similarity to the reference answer, not correctness: read the answers."
)
JUDGE_EXPLAINED = (
    "The judge is a language model in Bedrock. It was shown each prompt with its reference and both answers, once in "
    "each order, and asked which is better. A verdict that changes with the order is a tie, and equal answers are a "
    "tie without a question. The win rate counts a tie half: 0.50 is no difference."
)

Source = Literal["held-out", "run.json", "default", "file"]
"""Where a prompt is from: "file" is one that `finetune evaluate` was given."""
Problem = Literal["empty", "repetitive", "wrong script", "error"]
Measure = Literal["ROUGE-L", "accuracy", "JSON fields"]
"""What models are compared by: `scores.measure_of` chooses it from the reference answers."""
Judged = Literal["tuned", "base", "tie", "unusable", "not judged"]
"""Whose answer the judge prefers in both orders; "unusable" if it did not say so in the words it was asked for."""


class Scores(LazyModel):
    """Similarity of an answer to its reference, each 0 to 1; `SCORES_EXPLAINED` defines them."""

    rouge_l: float
    exact_match: float
    """0 or 1 for one answer, the share for several."""
    json_fields: float | None = None
    """None if the reference is not a JSON object or array."""

    def by(self, measure: Measure) -> float:
        """The value that models are compared by."""
        values = {"ROUGE-L": self.rouge_l, "accuracy": self.exact_match, "JSON fields": self.json_fields or 0.0}
        return values[measure]


class Answer(LazyModel):
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


class Row(LazyModel):
    """One prompt with its answers. `prompt` is the last user turn of a chat, otherwise the text as sent."""

    prompt: str
    source: Source
    reference: str | None = None
    tuned: Answer
    base: Answer | None = None
    """None if the base model was not evaluated."""
    judged: Judged | None = None
    """None without a judge, or without an answer of both models."""


class SmokeCheck(LazyModel):
    """`ok` is None if it could not be checked; `message` then says why."""

    check: str
    ok: bool | None
    message: str


class Comparison(LazyModel):
    """Tuned model against base model, over the prompts with a reference that both answered.

    `tuned` and `base` are means of `measure`; `better` and `worse` count the prompts on which the tuned answer scores
    higher or lower. `low` and `high` bound the mean difference with 95 % confidence: None with too few prompts.
    """

    measure: Measure = "ROUGE-L"
    prompts: int
    tuned: float
    base: float
    low: float | None = None
    high: float | None = None
    prompts_for_5_points: int | None = None
    """How many prompts would show a true difference of 0.05 four times in five, as the answers scatter here."""
    better: int
    worse: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented form; mypy has no rule for it
    @property
    def gain(self) -> float:
        return round(self.tuned - self.base, 3)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> Verdict:
        """A difference counts only if the interval does not contain 0."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return Verdict.NO_CHANGE
        return Verdict.HELPED if self.low > 0 else Verdict.WORSE


class LabelScore(LazyModel):
    """Accuracy over the prompts whose reference is `label`; `base` is None without the base model."""

    label: str
    prompts: int
    tuned: float
    base: float | None = None


class Summary(LazyModel):
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
    labels: list[LabelScore] = Field(default_factory=list)
    """One for each label, the most frequent first; empty if the references are not labels."""
    tuned_words: int = 0
    """Median length of an answer, as are the next two."""
    base_words: int | None = None
    reference_words: int | None = None
    median_latency_ms: int


class Judgement(LazyModel):
    """What a judge, a model in Bedrock, says of the answers to `prompts`, those that both models answered.

    `wins` and `losses`: the tuned or the base model's answer is preferred in both orders. `ties`: neither is, of which
    `flipped` have another verdict in each order; answers in the same words are ties that the judge is not asked about.
    `unusable`: the judge answered in other words than it was asked for, twice. `not_judged`: it could not be asked;
    `error` says why. `win_rate`: the mean over wins (1), ties (0.5) and losses (0), with the bounds of 95 % confidence;
    None without any, and with too few.
    """

    judge: str
    prompts: int
    wins: int
    losses: int
    ties: int
    flipped: int
    unusable: int
    not_judged: int
    error: str = ""
    win_rate: float | None = None
    low: float | None = None
    high: float | None = None


class EvaluationReport(LazyModel):
    """evaluation.json. `ok` is False if more than half of the tuned answers have a problem."""

    ok: bool
    rows: list[Row]
    checks: list[SmokeCheck]
    summary: Summary
    scores_explained: str = SCORES_EXPLAINED
    notes: list[str] = Field(default_factory=list)
    """Remarks for the reader, such as that the base model could not be asked."""
    not_compared: str = ""
    """Why the base model was not asked, as a clause; empty if it was, and in documents of earlier versions."""
    judgement: Judgement | None = None
    """None if run.json names no judge."""

    @property
    def verdict(self) -> Verdict:
        """The judge has no part in it: its opinion is a second number beside the scores."""
        if not self.ok:
            return Verdict.BROKEN
        return self.summary.comparison.outcome if self.summary.comparison else Verdict.NOT_COMPARED

    @property
    def has_base(self) -> bool:
        """True if the base model was evaluated."""
        return any(row.base for row in self.rows)

    @property
    def has_references(self) -> bool:
        """True if any prompt has a reference, even if no answer could be scored."""
        return any(row.reference for row in self.rows)
