"""SNS messages to the team, short enough for a phone: what happened, result, cost, one link, one command.

Each function builds one complete message from data. Some contain text from an upload, so invisible characters are made
visible and long text is cut; the report page has the full text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Any

from finetuning.evaluation.results import EvaluationReport
from finetuning.evaluation.verdict import verdict
from finetuning.report import commands
from finetuning.report.outcome import comparison_cost, serving_price
from finetuning.report.text import shortened, visible
from finetuning.runs.expiry import Deadline
from finetuning.runs.plan import RunPlan
from finetuning.runs.status import RunStatus, Verdict

MAX_SUBJECT = 99
"""Characters of an e-mail subject: SNS accepts fewer than 100, without line breaks or control characters (SNS API
reference, Publish). Only ASCII is sent, because phones and mail gateways handle other characters differently."""

MAX_TEXT = 600
"""Characters of an explanation: about one screen of a phone."""

LINK_HOURS = 12
"""How long the link to a report is signed for. S3 rejects it earlier if the signing credentials have expired, and AWS
does not document how long those of a Lambda function live: the message says "up to"."""


@dataclass(frozen=True)
class Message:
    """The arguments of sns:Publish. A subscription's filter policy can select by the attributes: `stage`, `state`
    (how the run stands, or "waiting for approval", "endpoint deleted", …), and where there is one `run_id` and
    `verdict`.
    """

    subject: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def chat(self) -> dict[str, Any]:
        """The message as a custom notification of Amazon Q Developer in chat applications (once AWS Chatbot), which
        posts nothing else to Slack or Teams (its administrator guide, "Custom notifications").

        A run's messages make one thread. `<`, `>` and `&` are escaped: Slack reads `<!channel>` as a mention, and
        part of the text comes from an upload.
        """
        thread = {"threadId": self.attributes["run_id"]} if "run_id" in self.attributes else {}
        return {
            "version": "1.0",
            "source": "custom",
            "content": {
                "textType": "client-markdown",
                "title": escape(self.subject, quote=False),
                "description": escape(self.body, quote=False),
            },
            "metadata": {**thread, "summary": self.subject, "additionalContext": dict(self.attributes)},
        }


@dataclass(frozen=True)
class ReportLink:
    """Where a report page is, and what opens it: the AWS console, and a signed link for anyone, unless the stage makes
    none.
    """

    s3_uri: str
    console: str
    signed: str = ""


def run_succeeded(
    status: RunStatus,
    plan: RunPlan,
    evaluation: EvaluationReport | None,
    *,
    stage: str,
    report: ReportLink,
    openai_base_url: str = "",
) -> Message:
    for_openai = [f"For OpenAI's clients (base_url):\n{openai_base_url}"] if openai_base_url else []
    if plan.endpoint.deploy:
        where = "is imported into Bedrock" if status.imported_model else "is in service"
        what = f"{status.endpoint} {where}."
        command = commands.ask(status.endpoint, stage)
    else:
        what = "The tuned model is ready; no endpoint was requested."
        command = commands.watch(status.run_id, stage)
    return _message(
        f"Run {status.run_id} succeeded",
        _attributes(stage, status.state, status.run_id, evaluation),
        what,
        *_result(status, evaluation),
        f"Cost: {_training_cost(status)}{_comparison_cost(plan)}{_endpoint_cost(plan)}.",
        *(for_openai if commands.speaks_openai(plan) else []),
        _report(report),
        _command("Ask it" if plan.endpoint.deploy else "Details", command),
    )


def approval_requested(
    status: RunStatus,
    plan: RunPlan,
    evaluation: EvaluationReport | None,
    *,
    answer_by: datetime,
    stage: str,
    report: ReportLink,
) -> Message:
    """What the approver needs: the result of the training, and what the endpoint will cost."""
    endpoint = plan.endpoint
    return _message(
        f"Run {status.run_id} is waiting for approval",
        _attributes(stage, "waiting for approval", status.run_id, evaluation),
        f"{plan.model_id} is tuned and ready to deploy on {endpoint.instance_count} x {endpoint.in_words}.",
        *([_text(f"It is {plan.promotion.in_words}.")] if plan.promotion else []),
        *_result(status, evaluation),
        f"Cost: {_training_cost(status)}{_endpoint_cost(plan)}.",
        _report(report),
        _command("Approve", commands.approve(status.run_id, stage)),
        _command("Reject", commands.reject(status.run_id, stage)),
        f"Without a decision by {answer_by:%d %b %H:%M} UTC it is not deployed. The tuned model is kept in any case.",
    )


def run_failed(
    status: RunStatus, error: dict[str, Any], *, serving: Sequence[str] = (), stage: str, report: ReportLink
) -> Message:
    """`error` is `{code, message, fix}`; `serving` has a sentence for each endpoint that still costs money."""
    return _message(
        f"Run {status.run_id} failed: {error['code']}",
        _attributes(stage, status.state, status.run_id, verdict=status.verdict),
        _text(error["message"]),
        f"What to do: {_text(error['fix'])}",
        *_result(status, None),
        f"Cost: {_training_cost(status)}.",
        *(f"{sentence}." for sentence in serving),
        _report(report),
        _command("Details", commands.watch(status.run_id, stage)),
    )


def upload_refused(key: str, error: dict[str, Any], *, stage: str) -> Message:
    """For an upload whose key does not belong to a run: it has no report, and nothing was spent."""
    return _message(
        f"Upload refused: {error['code']}",
        _attributes(stage, "upload refused"),
        f"{_text(key)}: {_text(error['message'])}",
        f"What to do: {_text(error['fix'])}",
        "Cost: none.",
    )


def run_aborted(status: RunStatus, error: dict[str, Any], *, stage: str, report: ReportLink) -> Message:
    """For a run that was aborted or timed out: sent by the clean-up, because the execution has ended."""
    return _message(
        f"Run {status.run_id} {status.state}",
        _attributes(stage, status.state, status.run_id, verdict=status.verdict),
        _text(error["message"]),
        f"What to do: {_text(error['fix'])}",
        f"Cost: {_training_cost(status)}.",
        _report(report),
        _command("Clean up", commands.clean_up(status.run_id, stage)),
    )


def endpoint_deleted(name: str, run_id: str, reason: str, *, stage: str, console: str) -> Message:
    """`run_id` is the run whose model it served; `console` links to the SageMaker endpoints."""
    return _message(
        f"Endpoint {name} deleted",
        _attributes(stage, "endpoint deleted", run_id),
        f"{name} was deleted: {reason}.",
        "Its model is kept.",
        "Cost: none from now on.",
        f"Endpoints: {console}",
        _command("Deploy it again", commands.deploy(run_id, stage)),
    )


def endpoint_left(run_id: str, line: str, *, stage: str) -> Message:
    """A sweep found an endpoint of a run that was aborted; `line` says what was done about it."""
    return _message(
        f"Endpoint of {run_id} found after its end",
        _attributes(stage, "endpoint deleted", run_id),
        f"The run {run_id} was aborted, and its endpoint came into service afterwards. {line}.",
        "The run's model is kept.",
        _command("Deploy it again", commands.deploy(run_id, stage)),
    )


def endpoint_expires(name: str, deadline: Deadline, *, stage: str) -> Message:
    """Sent a while before an endpoint is deleted."""
    saved = " Any request postpones this." if deadline.postponed_by_use else ""
    return _message(
        f"Endpoint {name} expires at {deadline.at:%H:%M} UTC",
        _attributes(stage, "endpoint expires"),
        f"{name} will be deleted at {deadline.at:%Y-%m-%d %H:%M} UTC or soon after: {deadline.reason}.{saved}",
        "Its model is kept.",
        _command("Keep it longer", commands.extend(name, 4, stage)),
    )


def _message(subject: str, attributes: Mapping[str, str], *paragraphs: str) -> Message:
    """The stage comes first in the subject: a phone shows its beginning only."""
    return Message(_subject(f"[{attributes['stage']}] {subject}"), "\n\n".join(paragraphs), attributes)


def _attributes(
    stage: str,
    state: str,
    run_id: str = "",
    evaluation: EvaluationReport | None = None,
    *,
    verdict: Verdict | None = None,
) -> dict[str, str]:
    """SNS accepts no empty attribute, so what there is not is left out."""
    judged = evaluation.verdict if evaluation else verdict
    known = {"stage": stage, "state": str(state), "run_id": run_id, "verdict": str(judged or "")}
    return {name: value for name, value in known.items() if value}


def _subject(text: str) -> str:
    ascii_only = re.sub(r"[^ -~]+", "?", text)
    return ascii_only if len(ascii_only) <= MAX_SUBJECT else ascii_only[: MAX_SUBJECT - 3] + "..."


def _text(text: str) -> str:
    return visible(shortened(text, MAX_TEXT))


def _report(link: ReportLink) -> str:
    report = f"Report, in the AWS console:\n{link.console}"
    if not link.signed:
        return report
    return f"{report}\n\nAnyone with this link can open it, for up to {LINK_HOURS} hours:\n{link.signed}"


def _command(title: str, command: str) -> str:
    return f"{title}:\n{command}"


def _training_cost(status: RunStatus) -> str:
    if status.cost.actual_usd is not None:
        return f"{status.cost.actual_usd:,.2f} USD for training"
    if not status.training_job:
        return "none, because no training job started"
    estimate = "" if status.cost.estimate_usd is None else f" (estimate: {status.cost.estimate_usd:,.2f} USD)"
    return f"not yet known for training{estimate}"


def _result(status: RunStatus, evaluation: EvaluationReport | None) -> list[str]:
    """The verdict, what a judge said, and the losses before and after."""
    losses = ", ".join(each.in_words for each in status.losses)
    paragraphs = [
        verdict(evaluation) if evaluation else "",
        _text(status.judgement) if evaluation else "",
        f"During training: {losses}." if losses else "",
    ]
    return [each for each in paragraphs if each]


def _comparison_cost(plan: RunPlan) -> str:
    usd = comparison_cost(plan)
    what = "comparison" if plan.evaluation.compare_with_base else "evaluation"
    return "" if usd is None else f", about {usd:,.2f} USD for the {what}"


def _endpoint_cost(plan: RunPlan) -> str:
    """ "" without an endpoint."""
    endpoint = plan.endpoint
    if not endpoint.deploy:
        return ""
    price = serving_price(plan)
    if endpoint.target == "bedrock":
        return f"; the imported model costs {price}, and {endpoint.lifetime.in_words}"
    return (
        f"; the endpoint costs {'an unknown price' if price == 'unknown' else price} and {endpoint.lifetime.in_words}"
    )
