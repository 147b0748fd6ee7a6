"""Whether tuning helped, in one plain sentence."""

from finetuning.evaluation.report import EvaluationReport

SAME_WITHIN = 0.02
"""Differences of mean scores below this are called none: a word more or less in one of a few short answers."""


def verdict(evaluation: EvaluationReport) -> str:
    """What the scores say of the tuned model beside the base model, and what they cannot say."""
    summary = evaluation.summary
    tuned = summary.tuned
    broken = f" {summary.problems} of {summary.answers} tuned answers are broken." if summary.problems else ""
    if tuned is None:
        differ = f"{summary.changed} of {summary.answers} answers differ from the base model's. "
        changes = "" if summary.changed is None else differ
        return f"{changes}No prompt had a reference: whether they are better is for a reader to say." + broken
    compared = summary.comparison
    if compared is None:
        scored = sum(row.tuned.scores is not None for row in evaluation.rows)
        resemblance = f"ROUGE-L {tuned.rouge_l:.2f} (of 1) over {_prompts(scored)}"
        return f"Tuned answers resemble their references by {resemblance}." + broken
    if abs(compared.gain) < SAME_WITHIN:
        found = "Tuning made no difference that the scores show"
    else:
        found = "Tuning helped" if compared.gain > 0 else "Tuning made the answers worse"
    return (
        f"{found}: ROUGE-L {compared.base:.2f} → {compared.tuned:.2f} (of 1) over {_prompts(compared.prompts)}; "
        f"better on {compared.better}, worse on {compared.worse}." + broken
    )


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' if count != 1 else ''} held out from training"
