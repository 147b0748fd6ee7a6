"""Whether tuning helped, in one sentence."""

from finetuning.evaluation.intervals import MIN_PROMPTS
from finetuning.evaluation.results import Comparison, EvaluationReport, Judgement
from finetuning.runs.status import Verdict

SENTENCES = {
    Verdict.HELPED: "Tuning helped",
    Verdict.NO_CHANGE: "Tuning made no measurable change",
    Verdict.WORSE: "Tuning made the answers worse",
    Verdict.BROKEN: "The tuned model is broken",
    Verdict.NOT_COMPARED: "Tuned and base model were not compared",
}
TOO_FEW = "Too few prompts to tell whether tuning helped"
"""In place of the sentence of NO_CHANGE: two means that differ much would contradict it."""


def verdict(evaluation: EvaluationReport) -> str:
    """The verdict with its numbers, or why there is none, and how many answers are unusable."""
    word, summary = evaluation.verdict, evaluation.summary
    unusable = f"{summary.problems} of {summary.answers} tuned answers are unusable."
    if word is Verdict.BROKEN:
        return f"{SENTENCES[word]}: {unusable}"
    reason = numbers(summary.comparison) if summary.comparison else _missing(evaluation)
    return f"{_sentence(evaluation)}: {reason}" + (f" {unusable}" if summary.problems else "")


def headline(evaluation: EvaluationReport) -> str:
    """The verdict with its one number, for a title: "Tuning helped: ROUGE-L 0.13 → 0.53"."""
    sentence, summary = _sentence(evaluation), evaluation.summary
    if evaluation.verdict is Verdict.BROKEN:
        return f"{sentence}: {summary.problems} of {summary.answers} answers are unusable"
    return f"{sentence}: {_means(summary.comparison)}" if summary.comparison else sentence


def _sentence(evaluation: EvaluationReport) -> str:
    comparison = evaluation.summary.comparison
    too_few = evaluation.verdict is Verdict.NO_CHANGE and comparison is not None and comparison.low is None
    return TOO_FEW if too_few else SENTENCES[evaluation.verdict]


def _means(comparison: Comparison) -> str:
    return f"{comparison.measure} {comparison.base:.2f} → {comparison.tuned:.2f}"


def numbers(comparison: Comparison) -> str:
    """The means with how sure their difference is."""
    means = f"{_means(comparison)} (scale 0 to 1)"
    counts = f"on {held_out_prompts(comparison.prompts)}; better on {comparison.better}, worse on {comparison.worse}"
    if comparison.low is None or comparison.high is None:
        return f"{means} {counts}. It takes at least {MIN_PROMPTS} prompts."
    interval = f"mean difference {comparison.gain:+.2f}, 95 % interval {comparison.low:+.2f} to {comparison.high:+.2f}"
    needed = comparison.prompts_for_5_points or 0
    if comparison.outcome is Verdict.NO_CHANGE and needed > comparison.prompts:
        return f"{means} {counts}; {interval}. About {needed:,} prompts would show a difference of 0.05."
    return f"{means} {counts}; {interval}."


def judged(judgement: Judgement) -> str:
    """What the judge says, with how sure it is."""
    if judgement.win_rate is None:
        return f"The judge {judgement.judge} compared no answers.{_unjudged(judgement)}"
    flipped = f" ({judgement.flipped} because its verdict changed with their order)" if judgement.flipped else ""
    interval = (
        f"It takes at least {MIN_PROMPTS} prompts for an interval."
        if judgement.low is None or judgement.high is None
        else f"95 % interval {judgement.low:.2f} to {judgement.high:.2f}."
    )
    return (
        f"The judge {judgement.judge} prefers the tuned model's answer on {judgement.wins} of {judgement.prompts} "
        f"prompt{'s' if judgement.prompts != 1 else ''}, the base model's on {judgement.losses}, and neither on "
        f"{judgement.ties}{flipped}: {win_rate(judgement)}, where a tie counts half. {interval}"
        f"{_unjudged(judgement)} The verdict does not depend on it."
    )


def win_rate(judgement: Judgement) -> str:
    """`win rate 0.68`; "" if the judge compared nothing."""
    return "" if judgement.win_rate is None else f"win rate {judgement.win_rate:.2f}"


def _unjudged(judgement: Judgement) -> str:
    """How many prompts the judge has said nothing usable about, and why; "" if none."""
    unusable, missing = judgement.unusable, judgement.not_judged
    said = f" Its answers about {unusable} could not be used." if unusable else ""
    return said + (f" It could not be asked about {missing}: {judgement.error.removesuffix('.')}." if missing else "")


def _missing(evaluation: EvaluationReport) -> str:
    summary = evaluation.summary
    if not evaluation.has_references:
        changed = "" if summary.changed is None else f" {summary.changed} of {summary.answers} answers differ."
        return f"no prompt has a reference answer.{changed} Read the answers."
    both = " by both models" if evaluation.has_base else ""
    unanswered = both or summary.tuned is None
    why = evaluation.not_compared or "the base model was not asked"
    reason = f"no prompt with a reference was answered{both}." if unanswered else f"{why.removesuffix('.')}."
    if summary.tuned is None:
        return reason
    return f"{reason} ROUGE-L of the tuned model: {summary.tuned.rouge_l:.2f} on {held_out_prompts(summary.scored)}."


def held_out_prompts(count: int) -> str:
    return f"{count} held-out prompt{'s' if count != 1 else ''}"
