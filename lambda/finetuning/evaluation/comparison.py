"""Asking the endpoints and judging what they say."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean, median

from finetuning.evaluation.questions import PARAMETERS, Question
from finetuning.evaluation.results import Answer, Comparison, EvaluationReport, Row, Scores, SmokeCheck, Summary
from finetuning.evaluation.scores import problem_of, score, words


@dataclass(frozen=True)
class Reply:
    """What came back from an endpoint: generated text, or why there is none.

    `finished`: whether the model ended by itself; None where the container does not tell.
    """

    text: str
    latency_ms: int
    error: str | None = None
    finished: bool | None = None


Ask = Callable[[str], Reply]
"""Sends rendered text as `inputs` to one endpoint."""


def evaluate(
    questions: Sequence[Question], ask_tuned: Ask, ask_base: Ask | None = None, notes: Sequence[str] = ()
) -> EvaluationReport:
    """Asks every question of the tuned model, and of the base model where there is one.

    Both at the same time, so that it takes as long as the slower of the two, but each one question after the other:
    latencies are those of an endpoint that has nothing else to do.
    """

    def replies(ask: Ask) -> list[Reply]:
        return [ask(question.inputs) for question in questions]

    with ThreadPoolExecutor(max_workers=1) as meanwhile:
        asked_base = meanwhile.submit(replies, ask_base) if ask_base else None
        tuned = replies(ask_tuned)
        base = asked_base.result() if asked_base else [None] * len(questions)
    rows = [
        Row(
            prompt=question.shown,
            source=question.source,
            reference=question.reference,
            tuned=_answer(of_tuned, question.reference),
            base=_answer(of_base, question.reference) if of_base else None,
        )
        for question, of_tuned, of_base in zip(questions, tuned, base, strict=True)
    ]
    checks = [
        _check(rows, "error", "The endpoint answers", "ended in an error"),
        _check(rows, "empty", "The answers say something", "empty"),
        _check(rows, "repetitive", "The answers do not run in circles", "repeat themselves"),
        _check_ends(rows),
    ]
    summary = _summary(rows)
    return EvaluationReport(
        ok=summary.problems * 2 <= len(rows),
        rows=rows,
        checks=checks,
        summary=summary,
        notes=list(notes),
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
        problem=problem_of(text),
        scores=score(text, reference) if reference else None,
    )


def _check_ends(rows: Sequence[Row]) -> SmokeCheck:
    """A model that never learned to end goes on to the limit. One long answer is no fault: this fails no run."""
    name = "The answers come to an end"
    told = [row.tuned.finished for row in rows if row.tuned.problem != "error"]
    if not told or None in told:
        return SmokeCheck(check=name, ok=None, message="the container does not say how an answer ended")
    cut = [number for number, row in enumerate(rows, start=1) if row.tuned.finished is False]
    limit = PARAMETERS["max_new_tokens"]
    return _checked(name, len(rows), cut, f"were cut off at {limit} tokens, without end-of-text")


def _check(rows: Sequence[Row], problem: str, name: str, complaint: str) -> SmokeCheck:
    found = [number for number, row in enumerate(rows, start=1) if row.tuned.problem == problem]
    return _checked(name, len(rows), found, complaint)


def _checked(name: str, of: int, found: Sequence[int], complaint: str) -> SmokeCheck:
    if not found:
        return SmokeCheck(check=name, ok=True, message=f"all {of} answers")
    numbers = ", ".join(map(str, found))
    return SmokeCheck(check=name, ok=False, message=f"{len(found)} of {of} answers {complaint}: {numbers}")


def _summary(rows: Sequence[Row]) -> Summary:
    compared = [(row.tuned.text, row.base.text) for row in rows if row.base]
    # Pairs only: a prompt that one of the two failed to answer would make the means of different prompts.
    pairs = [(row.tuned.scores, row.base.scores) for row in rows if row.tuned.scores and row.base and row.base.scores]
    tuned = [of_tuned for of_tuned, _ in pairs] or [row.tuned.scores for row in rows if row.tuned.scores]
    return Summary(
        answers=len(rows),
        problems=sum(row.tuned.problem is not None for row in rows),
        changed=sum(tuned != base for tuned, base in compared) if compared else None,
        scored=len(tuned),
        tuned=_mean(tuned),
        base=_mean([of_base for _, of_base in pairs]),
        comparison=_compared(pairs),
        tuned_words=round(median(row.tuned.words for row in rows)),
        base_words=_median([row.base.words for row in rows if row.base]),
        reference_words=_median([len(words(row.reference)) for row in rows if row.reference]),
        median_latency_ms=round(median(row.tuned.latency_ms for row in rows)),
    )


def _mean(scores: Sequence[Scores]) -> Scores | None:
    if not scores:
        return None
    return Scores(
        rouge_l=round(fmean(each.rouge_l for each in scores), 3),
        exact_match=round(fmean(each.exact_match for each in scores), 3),
    )


def _compared(pairs: Sequence[tuple[Scores, Scores]]) -> Comparison | None:
    if not pairs:
        return None
    return Comparison(
        prompts=len(pairs),
        tuned=round(fmean(tuned.rouge_l for tuned, _ in pairs), 3),
        base=round(fmean(base.rouge_l for _, base in pairs), 3),
        better=sum(tuned.rouge_l > base.rouge_l for tuned, base in pairs),
        worse=sum(tuned.rouge_l < base.rouge_l for tuned, base in pairs),
    )


def _median(lengths: Sequence[int]) -> int | None:
    return round(median(lengths)) if lengths else None
