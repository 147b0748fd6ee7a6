"""report.html: one run on one self-contained page, for the person who uploaded the data.

Data and answers are untrusted text. The templates escape all of it; if that failed, the page's Content-Security-Policy
would still block scripts and requests.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from finetuning.datasets.dataset_report import Bucket, DatasetReport
from finetuning.datasets.shard_result import LineError
from finetuning.evaluation.examples import examples
from finetuning.evaluation.loss_curve import loss_curve, overfits
from finetuning.evaluation.results import JUDGE_EXPLAINED, EvaluationReport
from finetuning.evaluation.verdict import numbers, verdict
from finetuning.report import charts, commands, outcome
from finetuning.report.text import shortened, visible
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import Check, RunState, RunStatus, Verdict
from finetuning.runs.timeline import phases

HERE = Path(__file__).parent
MAX_SHOWN = 4_000
"""Characters of one text on the page; the JSON documents next to it have the full text."""


def render(
    status: RunStatus,
    *,
    stage: str,
    docs_url: str = "",
    openai_base_url: str = "",
    plan: RunPlan | None = None,
    evaluation: EvaluationReport | None = None,
    dataset: DatasetReport | None = None,
) -> str:
    """The page, with a section for each document the run has so far.

    A section's id is the name of its template. `stage` is used in the commands on the page, `docs_url` in the links to
    the runbook, `openai_base_url` in the program for OpenAI's client, which a page without it does not have.
    """
    answers = status.state is RunState.SUCCEEDED and status.endpoint
    recent, links = _recent(status), [(title, url) for title, url in status.links.items() if url.startswith("https://")]
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            **style(),
            status=status,
            stage=stage,
            docs_url=docs_url,
            headline=outcome.headline(status, evaluation),
            lead=outcome.lead(status),
            retry=outcome.retry(status, plan, stage),
            comparison=evaluation.summary.comparison if evaluation else None,
            numbers=numbers(evaluation.summary.comparison) if evaluation and evaluation.summary.comparison else "",
            tone=_tone(status),
            facts=list(_facts(status, plan, evaluation)),
            error=status.error,
            plan=plan,
            dataset=dataset,
            errors_by_code=_errors_by_code(dataset) if dataset else [],
            lengths=charts.bar_chart([(_range(each), each.rows) for each in dataset.statistics.histogram])
            if dataset
            else None,
            evaluation=evaluation,
            verdict=verdict(evaluation) if evaluation else "",
            answers=examples(evaluation.rows) if evaluation else None,
            max_others=MAX_OTHERS,
            judge_explained=JUDGE_EXPLAINED,
            has_base=evaluation is not None and evaluation.has_base,
            phases=charts.timeline_bars(phases(recent, status.updated_at)),
            events=recent.events,
            began=recent.started_at,
            checks=sorted(status.checks, key=_by_result),
            checks_in_words=_checks_in_words(status.checks),
            python_call=_python_call(status, plan) if answers and plan else None,
            openai_call=commands.openai_call(status.endpoint, openai_base_url, stage)
            if answers and plan and openai_base_url and commands.speaks_openai(plan)
            else None,
            next_steps=commands.next_steps(status, plan, stage),
            losses=charts.line_chart(loss_curve(status.metrics), epochs_of(plan)),
            overfits=overfits(loss_curve(status.metrics)),
            contents=list(_sections(status, plan, evaluation, dataset)),
            links=links,
            error_links=[(title, url) for title, url in links if title in OF_A_FAILURE],
        )
    )


def _python_call(status: RunStatus, plan: RunPlan) -> str:
    return (
        commands.imported_call(status, plan) if status.imported_model else commands.python_call(status.endpoint, plan)
    )


def style() -> dict[str, str]:
    """The style sheet of a page, and the digest by which the page's policy allows it."""
    css = (HERE / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return {"style": Markup(css), "style_hash": f"sha256-{digest}"}  # noqa: S704  # our own file


TONES = {Verdict.NO_CHANGE: "warn", Verdict.WORSE: "bad"}
"""The colour of a run that succeeded is green, except with these verdicts."""

MAX_OTHERS = 100
"""Answers that can be unfolded: a page with all of 1,000 prompts would have megabytes."""

OF_A_FAILURE = ("Training log", "Training job", "Execution")
"""Links to the console that a failed run shows first."""

CLAMP = 110
"""Characters of a longer text that are shown without unfolding it."""


def _tone(status: RunStatus) -> str:
    """ "good", "warn" or "bad" for a run that has ended; "running" before."""
    match status.state:
        case RunState.SUCCEEDED:
            return TONES.get(status.verdict, "good") if status.verdict else "good"
        case RunState.FAILED | RunState.ABORTED:
            return "bad"
        case RunState.RUNNING:
            return "running"


def _recent(status: RunStatus) -> RunStatus:
    """The status with the events of the last deployment alone, for a run whose model was deployed again."""
    began = status.redeployed_at
    if began is None:
        return status
    events = [event for event in status.events if event.time >= began]
    return status.model_copy(update={"started_at": began, "events": events})


def _by_result(check: Check) -> int:
    """Findings first, then what could not be checked."""
    return [False, None, True].index(check.ok)


def _checks_in_words(checks: Sequence[Check]) -> str:
    warnings = sum(check.is_warning for check in checks)
    counts = (
        (sum(check.ok is False for check in checks), "failed"),
        (warnings, "warning" if warnings == 1 else "warnings"),
        (sum(check.ok is None for check in checks) - warnings, "not checked"),
        (sum(check.ok is True for check in checks), "passed"),
    )
    return ", ".join(f"{count} {name}" for count, name in counts if count)


def epochs_of(plan: RunPlan | None) -> int | None:
    epochs = plan.hyperparameters.get("epoch", "") if plan else ""
    return int(epochs) if epochs.isdecimal() else None


def _facts(status: RunStatus, plan: RunPlan | None, evaluation: EvaluationReport | None) -> Iterator[tuple[str, str]]:
    recent = _recent(status)
    if status.endpoint and status.state is RunState.SUCCEEDED and plan:
        what = "Imported model" if plan.endpoint.target == "bedrock" else "Endpoint"
        yield what, f"{outcome.serving_price(plan)}; {outcome.expiry(status, plan)}"
    if status.cost.actual_usd is not None:
        yield "Training cost", f"{_usd(status.cost.actual_usd)} (estimate: {_usd(status.cost.estimate_usd)})"
    elif status.cost.estimate_usd is not None:
        yield "Estimated training cost", _usd(status.cost.estimate_usd)
    # A run that ended before its evaluation has not spent this.
    if (evaluation or not status.state.is_final) and (compared := outcome.comparison_cost(plan)) is not None:
        yield "Evaluation cost", f"about {_usd(compared)} (estimate)"
    duration = _duration((recent.updated_at - recent.started_at).total_seconds())
    yield "Started", f"{recent.started_at:%Y-%m-%d %H:%M} UTC, took {duration}"
    if plan:
        yield "Model", f"{plan.model_id} {plan.model_version}"
        if plan.promotion:
            yield "Trained as", plan.promotion.in_words
        else:
            names = [file.key.rpartition("/")[2] for file in plan.data_files]
            yield "Data", f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        if plan.accepted:
            yield "Licence accepted by", plan.accepted.who
    if status.last_steps:
        yield "Training progress", str(status.last_steps)


def _sections(
    status: RunStatus, plan: RunPlan | None, evaluation: EvaluationReport | None, dataset: DatasetReport | None
) -> Iterator[tuple[str, str]]:
    """(template, title) of each section that has content. Refused data comes first: it is the reason."""
    refused = dataset is not None and dataset.refusal is not None
    if refused:
        yield "dataset", "Data"
    if evaluation:
        yield "answers", "Answers"
    if status.state.is_final:
        yield "next", "Next steps"
    if (plan and not plan.promotion) or status.metrics:
        yield "training", "Training"
    if dataset and not refused:
        yield "dataset", "Data"
    if status.events or status.checks or status.links:
        yield "details", "Details"


def _errors_by_code(dataset: DatasetReport) -> list[tuple[str, int, list[LineError]]]:
    """(code, number of lines, the listed ones), most frequent first."""
    counts = sorted(dataset.error_counts.items(), key=lambda item: (-item[1], item[0]))
    return [(code, count, [each for each in dataset.errors if each.code == code]) for code, count in counts]


def _range(bucket: Bucket) -> str:
    """`64–127`, from 1,024 on `1k–2k`: short enough for the width of a bar."""
    if bucket.at_least >= 1 << 10:
        return f"{bucket.at_least >> 10}k–{bucket.below >> 10}k"
    return f"{bucket.at_least}–{bucket.below - 1}"


@cache
def environment() -> Environment:
    """The templates of the pages."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=_visible, usd=_usd, duration=_duration, clock=_clock, count=_count)
    environment.globals.update(clamp=CLAMP)
    return environment


def _visible(text: Any) -> str:
    return visible(shortened(str(text), MAX_SHOWN))


def _count(number: int) -> str:
    return f"{number:,}"


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f} USD"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
