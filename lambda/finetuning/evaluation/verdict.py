"""Whether tuning helped, in one plain sentence."""

from finetuning.evaluation.results import EvaluationReport

FOUND = {
    "better": "Tuning helped",
    "same": "Tuning made no difference that the scores show",
    "worse": "Tuning made the answers worse",
}


def verdict(evaluation: EvaluationReport) -> str:
    """What the scores say of the tuned model beside the base model, and what they cannot say."""
    summary = evaluation.summary
    compared, tuned = summary.comparison, summary.tuned
    broken = f" {summary.problems} of {summary.answers} tuned answers are broken." if summary.problems else ""
    if compared:
        return (
            f"{FOUND[compared.outcome]}: ROUGE-L {compared.base:.2f} → {compared.tuned:.2f} (of 1) "
            f"over {_prompts(compared.prompts)}; better on {compared.better}, worse on {compared.worse}." + broken
        )
    if not evaluation.has_references:
        differ = f"{summary.changed} of {summary.answers} answers differ from the base model's. "
        changes = "" if summary.changed is None else differ
        return f"{changes}No prompt had a reference: whether they are better is for a reader to say." + broken
    unanswered = "No prompt with a reference was answered" + (" by both models." if evaluation.has_base else ".")
    if tuned is None:
        return unanswered + broken
    resemblance = f"ROUGE-L {tuned.rouge_l:.2f} (of 1) over {_prompts(summary.scored)}"
    alone = f"Tuned answers resemble their references by {resemblance}."
    return (f"{unanswered} {alone}" if evaluation.has_base else alone) + broken


def _prompts(count: int) -> str:
    return f"{count} prompt{'s' if count != 1 else ''} held out from training"
