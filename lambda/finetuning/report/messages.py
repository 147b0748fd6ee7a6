"""What the team hears by SNS, to be read on a phone: what, result, cost, one link, one command.

Each function makes one whole message of data alone. Text that came from an upload is in some of them, so what cannot
be seen is made visible, and a long text is cut: the report page has all of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finetuning.evaluation.loss_curve import loss_curve
from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import verdict
from finetuning.report import commands
from finetuning.report.text import shortened, visible
from finetuning.runs.expiry import Deadline
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunStatus

MAX_SUBJECT = 99
"""Characters of an e-mail's subject: SNS takes fewer than 100, without line breaks and control characters (its API
reference, Publish). Beyond ASCII phones and mail gateways differ, so none of it is sent."""

MAX_TEXT = 600
"""Characters of an explanation: a phone's screen."""

LINK_HOURS = 12
"""For how long the link to a report is signed. S3 refuses it earlier where the credentials it was signed with have
expired, and AWS does not say how long those of a Lambda function live: so people are told "up to"."""


@dataclass(frozen=True)
class Message:
    """As SNS takes it."""

    subject: str
    body: str


def run_succeeded(
    status: RunStatus, plan: RunPlan, evaluation: EvaluationReport | None, *, stage: str, report: str
) -> Message:
    """`report` is a signed link to the page, here and below."""
    if plan.endpoint.deploy:
        what = f"{status.endpoint} answers."
        command = commands.ask(status.endpoint, stage)
    else:
        what = "The tuned model is ready; no endpoint was asked for."
        command = commands.watch(status.run_id, stage)
    return _message(
        f"Run {status.run_id} succeeded",
        what,
        *([verdict(evaluation)] if evaluation else []),
        f"Cost: {_training_cost(status)}{_endpoint_cost(plan) if plan.endpoint.deploy else ''}.",
        _report(report),
        _command("Ask it" if plan.endpoint.deploy else "See it", command),
    )


def approval_asked(
    status: RunStatus,
    plan: RunPlan,
    evaluation: EvaluationReport | None,
    *,
    answer_by: datetime,
    stage: str,
    report: str,
) -> Message:
    """What whoever decides has to know: what the training came to, and what deploying costs."""
    endpoint = plan.endpoint
    losses = ", ".join(f"{series.title} {series.change}" for series in loss_curve(status.metrics))
    return _message(
        f"Run {status.run_id} waits for approval",
        f"{plan.model_id} is tuned and waits to be deployed on {endpoint.instance_count} x {endpoint.instance_type}.",
        *([f"Over the training: {losses}."] if losses else []),
        *([verdict(evaluation)] if evaluation else []),
        f"Cost: {_training_cost(status)}{_endpoint_cost(plan)}.",
        _report(report),
        _command("Deploy it", commands.approve(status.run_id, stage)),
        _command("Do not", commands.reject(status.run_id, stage)),
        f"Without an answer by {answer_by:%d %b %H:%M} UTC it is not deployed. The tuned model is kept either way.",
    )


def run_failed(
    status: RunStatus, error: dict[str, Any], *, serving: Sequence[str] = (), stage: str, report: str
) -> Message:
    """`error` is `{code, message, fix}`; `serving` says what goes on costing money, a sentence each."""
    return _message(
        f"Run {status.run_id} failed: {error['code']}",
        _text(error["message"]),
        f"What to do: {_text(error['fix'])}",
        f"Cost: {_training_cost(status)}.",
        *(f"{sentence}." for sentence in serving),
        _report(report),
        _command("All of it", commands.watch(status.run_id, stage)),
    )


def upload_refused(key: str, error: dict[str, Any]) -> Message:
    """For an upload whose key is no run's: it has no report, and nothing was spent."""
    return _message(
        f"Upload refused: {error['code']}",
        f"{_text(key)}: {_text(error['message'])}",
        f"What to do: {_text(error['fix'])}",
        "Cost: none.",
    )


def run_aborted(status: RunStatus, error: dict[str, Any], *, stage: str, report: str) -> Message:
    """For a run that was aborted or ran out of time: nobody but clean-up is left to tell."""
    return _message(
        f"Run {status.run_id} {status.state}",
        _text(error["message"]),
        f"What to do: {_text(error['fix'])}",
        f"Cost: {_training_cost(status)}.",
        _report(report),
        _command("What is left", commands.clean_up(status.run_id, stage)),
    )


def endpoint_deleted(name: str, run_id: str, reason: str, *, stage: str, console: str) -> Message:
    """`run_id` is the run whose model it served, `console` the address of SageMaker's endpoints."""
    return _message(
        f"Endpoint {name} deleted",
        f"{name} was deleted: {reason}.",
        "Its model is kept.",
        "Cost: it costs nothing from now on.",
        f"Endpoints: {console}",
        _command("Deploy it once more", commands.deploy(run_id, stage)),
    )


def endpoint_expires(name: str, deadline: Deadline, *, stage: str) -> Message:
    """Some time before an endpoint is deleted."""
    saved = " A question puts it off." if deadline.saved_by_asking else ""
    return _message(
        f"Endpoint {name} goes at {deadline.at:%H:%M} UTC",
        f"{name} will be deleted at {deadline.at:%Y-%m-%d %H:%M} UTC or soon after: {deadline.reason}.{saved}",
        "Its model is kept.",
        _command("Keep it for longer", commands.extend(name, 4, stage)),
    )


def _message(subject: str, *paragraphs: str) -> Message:
    return Message(_subject(subject), "\n\n".join(paragraphs))


def _subject(text: str) -> str:
    ascii_only = re.sub(r"[^ -~]+", "?", text)
    return ascii_only if len(ascii_only) <= MAX_SUBJECT else ascii_only[: MAX_SUBJECT - 3] + "..."


def _text(text: str) -> str:
    return visible(shortened(text, MAX_TEXT))


def _report(link: str) -> str:
    return f"Report (opens for up to {LINK_HOURS} hours, for whoever has this link):\n{link}"


def _command(title: str, command: str) -> str:
    return f"{title}:\n{command}"


def _training_cost(status: RunStatus) -> str:
    if status.cost.actual_usd is not None:
        return f"{status.cost.actual_usd:,.2f} USD for the training"
    if not status.training_job:
        return "nothing, for no training began"
    predicted = "" if status.cost.estimate_usd is None else f"; {status.cost.estimate_usd:,.2f} USD were predicted"
    return f"what the training took is not known{predicted}"


def _endpoint_cost(plan: RunPlan) -> str:
    endpoint = plan.endpoint
    price = (
        "a price not known"
        if endpoint.usd_per_hour is None
        else f"{endpoint.usd_per_hour * endpoint.instance_count:,.2f} USD an hour"
    )
    return f"; the endpoint runs for {price}; it goes {endpoint.lifetime.in_words}"
