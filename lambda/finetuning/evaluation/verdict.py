"""Whether tuning helped, in one plain sentence."""

from finetuning.evaluation.report import EvaluationReport

SAME_WITHIN = 0.02
"""Differences of mean scores below this are called none: a word more or less in one of a few short answers."""


def verdict(evaluation: EvaluationReport) -> str:
    """What the scores say of the tuned model beside the base model, and what they cannot say."""
    summary = evaluation.summary
    tuned, base = summary.tuned, summary.base
    broken = f" {summary.problems} of {summary.answers} tuned answers are broken." if summary.problems else ""
    if tuned is None:
        differ = f"{summary.changed} of {summary.answers} answers differ from the base model's. "
        compared = "" if summary.changed is None else differ
        return f"{compared}No prompt had a reference: whether they are better is for a reader to say." + broken
    scored = sum(row.tuned.scores is not None for row in evaluation.rows)
    prompts = f"{scored} prompt{'s' if scored != 1 else ''} held out from training"
    if base is None:
        return f"Tuned answers resemble their references by ROUGE-L {tuned.rouge_l:.2f} (of 1) over {prompts}." + broken
    difference = tuned.rouge_l - base.rouge_l
    if abs(difference) < SAME_WITHIN:
        found = "Tuning made no difference that the scores show"
    else:
        found = "Tuning helped" if difference > 0 else "Tuning made the answers worse"
    return f"{found}: ROUGE-L {base.rouge_l:.2f} → {tuned.rouge_l:.2f} (of 1) over {prompts}." + broken
