"""Whether tuning helped, in one sentence."""

from finetuning.evaluation.results import EvaluationReport

OUTCOMES = {
    "better": "Tuning helped",
    "same": "Tuning made no measurable difference",
    "worse": "Tuning made the answers worse",
}


def verdict(evaluation: EvaluationReport) -> str:
    """Compares the tuned model with the base model, or says why it cannot, and counts unusable answers."""
    summary = evaluation.summary
    comparison, tuned = summary.comparison, summary.tuned
    unusable = f" Tuned answers empty, repetitive or failed: {summary.problems} of {summary.answers}."
    problems = unusable if summary.problems else ""
    if comparison:
        return (
            f"{OUTCOMES[comparison.outcome]}: ROUGE-L {comparison.base:.2f} → {comparison.tuned:.2f} (scale 0 to 1) "
            f"on {held_out_prompts(comparison.prompts)}; better on {comparison.better}, worse on {comparison.worse}."
            + problems
        )
    if not evaluation.has_references:
        differ = f"{summary.changed} of {summary.answers} answers differ from the base model's. "
        changes = "" if summary.changed is None else differ
        return f"{changes}No prompt has a reference answer, so there are no scores: read the answers." + problems
    unanswered = "No prompt with a reference was answered" + (" by both models." if evaluation.has_base else ".")
    if tuned is None:
        return unanswered + problems
    alone = f"ROUGE-L of the tuned model: {tuned.rouge_l:.2f} (scale 0 to 1) on {held_out_prompts(summary.scored)}."
    return (f"{unanswered} {alone}" if evaluation.has_base else alone) + problems


def held_out_prompts(count: int) -> str:
    return f"{count} held-out prompt{'s' if count != 1 else ''}"
