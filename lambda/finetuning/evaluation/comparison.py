"""Asking the endpoints and judging what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from finetuning.evaluation.prompts import Question
from finetuning.evaluation.report import Answer, EvaluationReport, Row, Scores, SmokeCheck, Summary
from finetuning.evaluation.scores import problem_of, score


@dataclass(frozen=True)
class Reply:
    """What came back from an endpoint: generated text, or why there is none."""

    text: str
    latency_ms: int
    error: str | None = None


Ask = Callable[[str], Reply]
"""Sends rendered text as `inputs` to one endpoint."""


def evaluate(
    questions: Sequence[Question], ask_tuned: Ask, ask_base: Ask | None = None, notes: Sequence[str] = ()
) -> EvaluationReport:
    """Asks every question of the tuned model, and of the base model where there is one."""
    rows = [
        Row(
            prompt=question.shown,
            source=question.source,
            reference=question.reference,
            tuned=_answer(ask_tuned(question.inputs), question.reference),
            base=_answer(ask_base(question.inputs), question.reference) if ask_base else None,
        )
        for question in questions
    ]
    checks = [
        _check(rows, "error", "The endpoint answers", "ended in an error"),
        _check(rows, "empty", "The answers say something", "empty"),
        _check(rows, "repetitive", "The answers do not run in circles", "repeat themselves"),
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
        problem=problem_of(text),
        scores=score(text, reference) if reference else None,
    )


def _check(rows: Sequence[Row], problem: str, name: str, complaint: str) -> SmokeCheck:
    found = [number for number, row in enumerate(rows, start=1) if row.tuned.problem == problem]
    if not found:
        return SmokeCheck(check=name, ok=True, message=f"all {len(rows)} answers")
    numbers = ", ".join(map(str, found))
    return SmokeCheck(check=name, ok=False, message=f"{len(found)} of {len(rows)} answers {complaint}: {numbers}")


def _summary(rows: Sequence[Row]) -> Summary:
    compared = [(row.tuned.text, row.base.text) for row in rows if row.base]
    return Summary(
        answers=len(rows),
        problems=sum(row.tuned.problem is not None for row in rows),
        changed=sum(tuned != base for tuned, base in compared) if compared else None,
        tuned=_mean([row.tuned.scores for row in rows]),
        base=_mean([row.base.scores for row in rows if row.base]),
        median_latency_ms=round(median(row.tuned.latency_ms for row in rows)),
    )


def _mean(scores: Sequence[Scores | None]) -> Scores | None:
    known = [each for each in scores if each]
    if not known:
        return None
    return Scores(
        token_f1=round(fmean(each.token_f1 for each in known), 3),
        rouge_l=round(fmean(each.rouge_l for each in known), 3),
    )
