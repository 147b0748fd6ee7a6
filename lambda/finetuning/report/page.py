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

from finetuning.datasets.dataset_report import Bucket, DatasetReport
from finetuning.datasets.shard_result import LineError
from finetuning.evaluation.loss_curve import loss_curve
from finetuning.evaluation.results import EvaluationReport, Row
from finetuning.evaluation.verdict import headline as evaluation_headline
from finetuning.evaluation.verdict import verdict
from finetuning.report import charts, commands
from finetuning.report.text import shortened, visible
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunState, RunStatus, Verdict
from finetuning.runs.timeline import PHASES, phases

HERE = Path(__file__).parent
MAX_SHOWN = 4_000
"""Characters of one text on the page; the JSON documents next to it have the full text."""


def render(
    status: RunStatus,
    *,
    stage: str,
    plan: RunPlan | None = None,
    evaluation: EvaluationReport | None = None,
    dataset: DatasetReport | None = None,
) -> str:
    """The page, with a section for each document the run has so far.

    A section's id is the name of its template. `stage` is used in the commands on the page.
    """
    style = (HERE / "page.css").read_text(encoding="utf-8")
    answers = status.state is RunState.SUCCEEDED and status.endpoint
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            style=style,
            style_hash=f"sha256-{digest}",
            status=status,
            headline=headline(status, evaluation),
            tone=_tone(status),
            facts=list(_facts(status, plan)),
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
            has_base=evaluation is not None and evaluation.has_base,
            phases=charts.timeline_bars(phases(status, status.updated_at)),
            python_call=commands.python_call(status.endpoint, plan) if answers and plan else None,
            next_steps=commands.next_steps(status, plan, stage),
            losses=charts.line_chart(loss_curve(status.metrics)),
            contents=list(_sections(status, plan, evaluation, dataset)),
            links=[(title, url) for title, url in status.links.items() if url.startswith("https://")],
        )
    )


TONES = {Verdict.NO_CHANGE: "warn", Verdict.WORSE: "bad"}
"""The colour of a run that succeeded is green, except with these verdicts."""

ALL_SHOWN = 6
"""So many answers, or fewer, are shown without folding."""


def _tone(status: RunStatus) -> str:
    """ "good", "warn" or "bad" for a run that has ended; "running" before."""
    match status.state:
        case RunState.SUCCEEDED:
            return TONES.get(status.verdict, "good") if status.verdict else "good"
        case RunState.FAILED | RunState.ABORTED:
            return "bad"
        case RunState.RUNNING:
            return "running"


def examples(rows: Sequence[Row]) -> tuple[list[tuple[str, Row]], list[Row]]:
    """(what it shows, row) of the rows to read first, and all others.

    The rows are those with the largest, the median and the smallest gain over the base model; without it, score.
    """
    ranked = sorted((row for row in rows if row.tuned.scores), key=_gain, reverse=True)
    if len(rows) <= ALL_SHOWN or len(ranked) < 3:
        return [("", row) for row in rows[:ALL_SHOWN]], list(rows[ALL_SHOWN:])
    titles = {0: "most gained", len(ranked) // 2: "median", len(ranked) - 1: "least gained"}
    first = [(title, ranked[place]) for place, title in titles.items()]
    return first, [row for row in rows if all(row is not shown for _, shown in first)]


def _gain(row: Row) -> float:
    tuned = row.tuned.scores.rouge_l if row.tuned.scores else 0.0
    return tuned - (row.base.scores.rouge_l if row.base and row.base.scores else 0.0)


def headline(status: RunStatus, evaluation: EvaluationReport | None = None) -> str:
    """The outcome in one sentence, with the verdict of the evaluation first."""
    outcome = _outcome(status)
    return f"{evaluation_headline(evaluation)}. {outcome}" if evaluation and status.state.is_final else outcome


def _outcome(status: RunStatus) -> str:
    match status.state:
        case RunState.SUCCEEDED if status.endpoint:
            return f"The tuned model is deployed at {status.endpoint}"
        case RunState.SUCCEEDED:
            return "The tuned model is ready"
        case RunState.FAILED:
            return f"The run failed at {_last_step(status)}"
        case RunState.ABORTED:
            return f"The run was aborted at {_last_step(status)}"
        case RunState.RUNNING:
            return f"The run is running: {status.step}" if status.step else "The run is starting"


def _last_step(status: RunStatus) -> str:
    """The last step of the run itself: not the clean-up after it."""
    steps = [event.step for event in status.events if event.step in PHASES]
    return status.step if status.step in PHASES or not steps else steps[-1]


def _facts(status: RunStatus, plan: RunPlan | None) -> Iterator[tuple[str, str]]:
    yield "Started", f"{status.started_at:%Y-%m-%d %H:%M} UTC"
    yield "Duration", _duration((status.updated_at - status.started_at).total_seconds())
    if plan:
        yield "Model", f"{plan.model_id} {plan.model_version}"
        yield "Task", str(plan.task or "not yet known")
        yield "Data", ", ".join(file.key.rpartition("/")[2] for file in plan.data_files)
        if plan.accepted:
            yield "Licence accepted by", f"{plan.accepted.by}, {plan.accepted.at:%Y-%m-%d}"
    if status.last_steps:
        yield "Training progress", str(status.last_steps)
    if status.training_job:
        yield "Training job", status.training_job
    if status.cost.estimate_usd is not None:
        yield "Estimated training cost", _usd(status.cost.estimate_usd)
    if status.cost.actual_usd is not None:
        yield "Billed training cost", _usd(status.cost.actual_usd)


def _sections(
    status: RunStatus, plan: RunPlan | None, evaluation: EvaluationReport | None, dataset: DatasetReport | None
) -> Iterator[tuple[str, str]]:
    """(template, title) of each section that has content. Refused data comes before the timeline: it is the reason."""
    refused = dataset is not None and dataset.refusal is not None
    if evaluation:
        yield "answers", "Answers"
    if status.state.is_final:
        yield "next", "Next steps"
    if refused:
        yield "dataset", "Data"
    if status.events:
        yield "timeline", "Timeline"
    if plan or status.metrics:
        yield "training", "Training"
    if dataset and not refused:
        yield "dataset", "Data"
    if status.checks:
        yield "preflight", "Checks"


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
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=_visible, usd=_usd, duration=_duration, clock=_clock, count=_count)
    environment.globals.update(
        width=charts.WIDTH,
        timeline_width=charts.TIMELINE_WIDTH,
        height=charts.HEIGHT,
        plot={"left": charts.LEFT, "right": charts.WIDTH - charts.RIGHT},
    )
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
