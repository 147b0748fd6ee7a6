"""What people get to see of a run: the message, and the report page that its link opens, in a browser."""

import contextlib
import io
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import pytest

from finetuning.runs.layout import RunLayout
from tests.browser.audit import DESKTOP, PHONE, complaints
from tests.browser.chromium import Tab, chromium
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import any_name

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202egnp"
HEADLINES = {
    "happy": "The tuned model is deployed at",
    "refused": "Nothing was spent: the data was refused",
    "failed": "the training ran out of memory",
    "aborted": "The run was aborted",
}


@dataclass(frozen=True)
class RunNotice:
    """What a run left its reader: its status.json, and the message about it."""

    status: dict[str, Any]
    subject: str
    body: str

    @property
    def link(self) -> str:
        """The signed one: the console and the endpoint's address for OpenAI's clients are linked, too."""
        (link,) = re.findall(r"^https?://\S+X-Amz-Signature=\S+$", self.body, re.MULTILINE)
        return str(link)


def hostile_chats() -> list[bytes]:
    """Every row asks with markup in it, so that the held-out prompts have some, too."""
    return [line.replace(b"What is", f"What {HOSTILE} is".encode()) for line in any_chats(16)]


def refused(product: Product) -> str:
    lines = hostile_chats()
    lines[3:6] = [b'{"messages": [{"role": "user"\n', json.dumps({"messages": HOSTILE}).encode() + b"\n", b"<script>\n"]
    return product.submit(b"".join(lines))


def happy(product: Product) -> str:
    deployed = {"endpoint": {"deploy": True}, "evaluation": {"prompts": 2, "compare_with_base": True}}
    return product.submit(b"".join(hostile_chats()), **deployed)


def failed(product: Product) -> str:
    run_id = product.submit(b"".join(any_chats()))
    product.emulator.inject("job-fails", match=run_id, message=f"AlgorithmError: CUDA out of memory {HOSTILE}")
    return run_id


def aborted(product: Product) -> str:
    run_id = product.submit_training()
    (execution,) = product.executions_of(run_id)
    product.emulator.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])
    return run_id


RUNS: dict[str, Callable[[Product], str]] = {"happy": happy, "refused": refused, "failed": failed, "aborted": aborted}


@pytest.fixture(scope="module")
def notices(product: Product) -> dict[str, RunNotice]:
    """One run of each kind, side by side, each with the message the team got."""
    letterbox = _subscribed(product)
    run_ids = {kind: start(product) for kind, start in RUNS.items()}
    statuses = {kind: product.ended(run_id, 900) for kind, run_id in run_ids.items()}
    messages = _messages(product, letterbox, set(run_ids.values()))
    return {
        kind: RunNotice(statuses[kind], messages[run_id]["Subject"], messages[run_id]["Message"])
        for kind, run_id in run_ids.items()
    }


def _subscribed(product: Product) -> str:
    """The URL of a queue that gets what the team gets."""
    sqs, sns = product.emulator.client("sqs"), product.emulator.client("sns")
    url = sqs.create_queue(QueueName=any_name("letterbox"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    (topic,) = [each["TopicArn"] for each in sns.list_topics()["Topics"] if ":finetune-dev" in each["TopicArn"]]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return str(url)


def _messages(product: Product, letterbox: str, run_ids: set[str]) -> dict[str, dict[str, Any]]:
    """SNS's message about each run; the last step publishes after it has written the status."""
    sqs, found = product.emulator.client("sqs"), dict[str, dict[str, Any]]()
    deadline = time.monotonic() + 60
    while run_ids - found.keys() and time.monotonic() < deadline:
        answer = sqs.receive_message(QueueUrl=letterbox, WaitTimeSeconds=1, MaxNumberOfMessages=10)
        for message in (json.loads(each["Body"]) for each in answer.get("Messages", [])):
            about = [run_id for run_id in run_ids if run_id in message["Subject"]]
            found |= dict.fromkeys(about, message)
    assert run_ids == found.keys()
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


class _Programs(HTMLParser):
    """The text of each `pre` by its label."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._label = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._label = (dict(attrs).get("aria-label") or "") if tag == "pre" else ""

    def handle_data(self, data: str) -> None:
        if self._label:
            self.found[self._label] = self.found.get(self._label, "") + data


@pytest.mark.parametrize("kind", RUNS)
def test_the_message_names_the_run_and_its_link_opens_the_page_without_credentials(
    notices: dict[str, RunNotice], kind: str
) -> None:
    run = notices[kind]
    assert run.subject.startswith(f"[dev] Run {run.status['run_id']} ")
    assert "\u202e" not in run.body
    with urllib.request.urlopen(run.link) as page:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert HEADLINES[kind] in page.read().decode()


def test_a_link_opens_no_other_file_of_the_run(notices: dict[str, RunNotice]) -> None:
    link = notices["happy"].link.replace("report.html", "status.json")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("kind", RUNS)
def test_nothing_is_wrong_with_the_page(
    notices: dict[str, RunNotice], tab: Tab, kind: str, width: int, scheme: str
) -> None:
    assert complaints(tab, notices[kind].link, width=width, scheme=scheme, keep_as=f"rehearsed-{kind}") == []


def test_the_program_on_the_page_gets_an_answer_from_the_endpoint(
    product: Product, notices: dict[str, RunNotice], monkeypatch: pytest.MonkeyPatch
) -> None:
    with urllib.request.urlopen(notices["happy"].link) as page:
        program = _Programs(page.read().decode()).found["Python program"]
    runtime = product.emulator.client("sagemaker-runtime")
    monkeypatch.setattr("boto3.client", {"sagemaker-runtime": runtime}.__getitem__)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "report.html", "exec"), {})
    assert printed.getvalue()


def test_an_aborted_run_has_the_page_of_what_it_had_come_to(product: Product, notices: dict[str, RunNotice]) -> None:
    layout = RunLayout(notices["aborted"].status["run_id"])
    page = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=layout.report_page)["Body"].read()
    assert b"RUN_ABORTED" in page
    assert b"Stopped the training job" in page
