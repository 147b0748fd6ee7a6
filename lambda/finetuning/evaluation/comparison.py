"""Judges the answers of the tuned model, and compares them with the base model's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from finetuning.evaluation.intervals import mean_interval, prompts_to_show
from finetuning.evaluation.questions import PARAMETERS, Question
from finetuning.evaluation.results import (
    Answer,
    Comparison,
    EvaluationReport,
    LabelScore,
    Measure,
    Row,
    Scores,
    SmokeCheck,
    Summary,
)
from finetuning.evaluation.scores import measure_of, problem_of, score, words


@dataclass(frozen=True)
class Reply:
    """The response of an endpoint: generated text, or the error.

    `finished` is False if the text was cut off at the token limit, None if the container does not report it.
    """

    text: str
    latency_ms: int
    error: str | None = None
    finished: bool | None = None


Ask = Callable[[str], Reply]
"""Sends rendered text as `inputs` to an endpoint."""


NOT_ANSWERED = Reply("", 0, error="There is no answer to this prompt.")


def evaluate(
    questions: Sequence[Question],
    tuned: Mapping[int, Reply],
    base: Mapping[int, Reply] | None = None,
    notes: Sequence[str] = (),
    not_compared: str = "",
) -> EvaluationReport:
    """`tuned` and `base`: what the models answered, by the number of the prompt. The base model may lack answers.
    `not_compared`: why it was not asked.
    """
    base = base or {}
    rows = [
        Row(
            prompt=question.shown,
            source=question.source,
            reference=question.reference,
            tuned=_answer(tuned.get(number, NOT_ANSWERED), question.reference),
            base=_answer(base[number], question.reference) if number in base else None,
        )
        for number, question in enumerate(questions)
    ]
    checks = [
        _problem_check(rows, "error", "No errors", "failed"),
        _problem_check(rows, "empty", "No empty answers", "empty"),
        _problem_check(rows, "repetitive", "No repetition", "repetitive"),
        _problem_check(rows, "wrong script", "Script of the reference", "in another script"),
        _cut_off_check(rows),
    ]
    summary = _summary(rows)
    return EvaluationReport(
        ok=summary.problems * 2 <= len(rows),
        rows=rows,
        checks=checks,
        summary=summary,
        notes=list(notes),
        not_compared=not_compared,
    )


def _answer(reply: Reply, reference: str | None) -> Answer:
    if reply.error is not None:
        return Answer(text=reply.error, latency_ms=reply.latency_ms, problem="error")
    text = reply.text.strip()
    return Answer(
        text=text,
        latency_ms=reply.latency_ms,
        words=len(words(text)),
        finished=reply.finished,
        problem=problem_of(text, reference),
        scores=score(text, reference) if reference else None,
    )


def _cut_off_check(rows: Sequence[Row]) -> SmokeCheck:
    """Finds a model that did not learn to emit end-of-text. A long answer may be correct, so this fails no run."""
    name = "No answer cut off"
    reported = [row.tuned.finished for row in rows if row.tuned.problem != "error"]
    if not reported or None in reported:
        return SmokeCheck(check=name, ok=None, message="the container does not report how an answer ended")
    cut_off = [number for number, row in enumerate(rows, start=1) if row.tuned.finished is False]
    return _smoke_check(name, len(rows), cut_off, f"reached {PARAMETERS['max_new_tokens']} tokens without end-of-text")


def _problem_check(rows: Sequence[Row], problem: str, name: str, label: str) -> SmokeCheck:
    failed = [number for number, row in enumerate(rows, start=1) if row.tuned.problem == problem]
    return _smoke_check(name, len(rows), failed, label)


def _smoke_check(name: str, total: int, failed: Sequence[int], label: str) -> SmokeCheck:
    if not failed:
        return SmokeCheck(check=name, ok=True, message=f"{total} of {total} answers")
    numbers = ", ".join(map(str, failed))
    return SmokeCheck(check=name, ok=False, message=f"{len(failed)} of {total} answers {label}: number {numbers}")


def _summary(rows: Sequence[Row]) -> Summary:
    compared = [(row.tuned.text, row.base.text) for row in rows if row.base]
    # Only prompts that both models answered: the means must be over the same prompts.
    pairs = [(row.tuned.scores, row.base.scores) for row in rows if row.tuned.scores and row.base and row.base.scores]
    measure = measure_of([row.reference for row in rows if row.reference])
    tuned = [tuned for tuned, _ in pairs] or [row.tuned.scores for row in rows if row.tuned.scores]
    return Summary(
        answers=len(rows),
        problems=sum(row.tuned.problem is not None for row in rows),
        changed=sum(tuned != base for tuned, base in compared) if compared else None,
        scored=len(tuned),
        tuned=_mean(tuned),
        base=_mean([base for _, base in pairs]),
        comparison=compare(pairs, measure) if pairs else None,
        labels=_labels(rows) if measure == "accuracy" else [],
        tuned_words=round(median(row.tuned.words for row in rows)),
        base_words=_median([row.base.words for row in rows if row.base]),
        reference_words=_median([len(words(row.reference)) for row in rows if row.reference]),
        median_latency_ms=round(median(row.tuned.latency_ms for row in rows)),
    )


def _mean(scores: Sequence[Scores]) -> Scores | None:
    if not scores:
        return None
    fields = [each.json_fields for each in scores if each.json_fields is not None]
    return Scores(
        rouge_l=round(fmean(each.rouge_l for each in scores), 3),
        exact_match=round(fmean(each.exact_match for each in scores), 3),
        json_fields=round(fmean(fields), 3) if fields else None,
    )


def compare(pairs: Sequence[tuple[Scores, Scores]], measure: Measure) -> Comparison:
    """Compares (tuned, base) scores of the same prompts, one pair for each; there must be one at least."""
    tuned, base = ([scores.by(measure) for scores in side] for side in zip(*pairs, strict=True))
    differences = [ours - theirs for ours, theirs in zip(tuned, base, strict=True)]
    interval = mean_interval(differences)
    low, high = (round(bound, 3) for bound in interval) if interval else (None, None)
    return Comparison(
        measure=measure,
        prompts=len(pairs),
        tuned=round(fmean(tuned), 3),
        base=round(fmean(base), 3),
        low=low,
        high=high,
        prompts_for_5_points=prompts_to_show(0.05, differences),
        better=sum(difference > 0 for difference in differences),
        worse=sum(difference < 0 for difference in differences),
    )


def _labels(rows: Sequence[Row]) -> list[LabelScore]:
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        if row.reference and row.tuned.scores:
            by_label.setdefault(" ".join(words(row.reference)), []).append(row)
    return [
        LabelScore(
            label=label,
            prompts=len(found),
            tuned=_accuracy([row.tuned.scores for row in found]) or 0.0,
            base=_accuracy([row.base.scores for row in found if row.base]),
        )
        for label, found in sorted(by_label.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _accuracy(scores: Sequence[Scores | None]) -> float | None:
    known = [each.exact_match for each in scores if each]
    return round(fmean(known), 3) if known else None


def _median(lengths: Sequence[int]) -> int | None:
    return round(median(lengths)) if lengths else None
