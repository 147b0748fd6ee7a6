import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest

from finetuning.evaluation.verdict import judged
from finetuning.report import messages
from finetuning.report.messages import LINK_HOURS, MAX_SUBJECT, Message, ReportLink
from finetuning.runs.status import Cost, RunState, Verdict
from tests.builders.answers import any_judgement
from tests.builders.promotion import PACKAGE, SCORES
from tests.builders.runs import RUN_ID, any_evaluation, any_failed_status, any_plan, any_status, at

ROOT = Path(__file__).resolve().parents[3]
LINK = "https://us-east-1.console.aws.amazon.com/s3/object/artifacts?region=us-east-1&prefix=runs/pirate/report.html"
BASE_URL = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/finetune-dev-pirate-0a1b2c3d/openai/v1"
PAGE = "s3://artifacts/runs/pirate-0a1b2c3d/report.html"
REPORT = ReportLink(PAGE, LINK)
SIGNED = ReportLink(PAGE, LINK, "https://artifacts.s3.amazonaws.com/runs/pirate-0a1b2c3d/report.html?X-Amz-Signature=0")


def any_error(**changes: str) -> dict[str, str]:
    return {"code": "DATASET_REFUSED", "message": "line 7 of chat.jsonl is not JSON", "fix": "Fix line 7."} | changes


def of_success(**changes: object) -> Message:
    return messages.run_succeeded(
        any_status(**changes), any_plan(), any_evaluation(), stage="prod", report=REPORT, openai_base_url=BASE_URL
    )


def test_the_message_of_an_imported_model_says_where_it_is() -> None:
    assert f"finetune-dev-{RUN_ID} is imported into Bedrock." in of_success(imported_model="arn").body


def of_failure(**changes: str) -> Message:
    return messages.run_failed(any_failed_status(), any_error(**changes), stage="prod", report=REPORT)


def test_the_message_of_a_broken_model_has_its_losses() -> None:
    broken = any_status(state=RunState.FAILED, verdict=Verdict.BROKEN)
    sent = messages.run_failed(broken, any_error(), stage="prod", report=REPORT)
    assert "During training: training loss 4.05 → 0.73, validation loss 3.71 → 0.81." in sent.body
    assert sent.attributes["verdict"] == "broken"


def of_abort(**changes: str) -> Message:
    status = any_failed_status(state=RunState.ABORTED)
    return messages.run_aborted(status, any_error(**changes), stage="prod", report=REPORT)


def of_deletion() -> Message:
    return messages.endpoint_deleted("finetune-prod-parrot", RUN_ID, "expired after 8 h", stage="prod", console=LINK)


def of_approval() -> Message:
    answer_by, status = at(86_400), any_status(state=RunState.RUNNING, endpoint="")
    return messages.approval_requested(
        status, any_plan(), any_evaluation(), answer_by=answer_by, stage="prod", report=REPORT
    )


TEXT = {"type": "string", "minLength": 1}
CHAT = {
    "type": "object",
    "required": ["version", "source", "content"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "1.0"},
        "source": {"const": "custom"},
        "id": TEXT,
        "content": {
            "type": "object",
            "required": ["description"],
            "additionalProperties": False,
            "properties": {
                "textType": {"const": "client-markdown"},
                "title": TEXT,
                "description": TEXT,
                "nextSteps": {"type": "array", "items": TEXT},
                "keywords": {"type": "array", "items": TEXT},
            },
        },
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "threadId": TEXT,
                "summary": TEXT,
                "eventType": TEXT,
                "relatedResources": {"type": "array", "items": TEXT},
                "additionalContext": {"type": "object", "additionalProperties": TEXT},
            },
        },
    },
}
"""The event schema of "Custom notifications" in the administrator guide of Amazon Q Developer in chat applications."""

EVERY = [of_success, of_failure, of_abort, of_deletion]


@pytest.mark.parametrize("make", EVERY)
def test_every_message_has_the_cost_one_link_and_one_command_for_its_stage(make: Callable[[], Message]) -> None:
    body = make().body.replace(BASE_URL, "")  # an address for programs
    assert body.count("https://") == body.count("\nfinetune ") == 1
    assert "Cost: " in body
    command = body.splitlines()[-1]
    assert command.startswith("finetune ")
    assert command.endswith(" --stage prod")


@pytest.mark.parametrize("make", EVERY)
def test_every_message_fits_a_phone(make: Callable[[], Message]) -> None:
    message = make()
    assert len(message.body.replace(LINK, "")) < 900
    assert max(map(len, message.body.splitlines())) < 400  # a longer one is hard to read on a phone


@pytest.mark.parametrize("make", [of_failure, of_abort])
def test_a_message_says_what_failed_and_what_to_do(make: Callable[[], Message]) -> None:
    body = make().body
    assert body.startswith("line 7 of chat.jsonl is not JSON")
    assert "What to do: Fix line 7." in body
    assert "Cost: none, because no training job started." in body


def test_a_success_has_the_address_for_openai_s_clients_if_the_model_knows_chats() -> None:
    assert any_plan().task == "chat"
    assert f"\n\nFor OpenAI's clients (base_url):\n{BASE_URL}\n\n" in of_success().body
    plan = any_plan(task="instruction")
    other = messages.run_succeeded(any_status(), plan, None, stage="prod", report=REPORT, openai_base_url=BASE_URL)
    assert BASE_URL not in other.body


def test_a_success_names_the_endpoint_the_verdict_and_the_cost() -> None:
    message = of_success()
    assert message.subject == "[prod] Run pirate-0a1b2c3d succeeded"
    for expected in (
        "finetune-dev-pirate-0a1b2c3d is in service.",
        "Tuning helped: ROUGE-L 0.13 → 0.53",
        "38.75 USD for training, about 28.90 USD for the comparison; the endpoint costs 37.69 USD per hour and expires "
        "after 8 h or after 60 ",
        'finetune ask finetune-dev-pirate-0a1b2c3d "What can you help me with?" --stage prod',
    ):
        assert expected in message.body


def test_an_imported_model_is_reported_with_its_price_by_use() -> None:
    endpoint = any_plan().endpoint.model_dump() | {
        "target": "bedrock",
        "idle_minutes": "never",
        "import_price": {"units": 8, "usd_per_unit_minute": 0.05718, "usd_per_unit_month": 1.95},
    }
    evaluation = any_plan().evaluation.model_dump()
    evaluation["estimate"] |= {"temporary_endpoints": 0, "usd": 0, "import_usd": 4.57}
    plan = any_plan(endpoint=endpoint, evaluation=evaluation | {"compare_with_base": False})
    body = messages.run_succeeded(any_status(), plan, any_evaluation(), stage="dev", report=REPORT).body
    assert (
        "38.75 USD for training, about 4.57 USD for the evaluation; the imported model costs 2.29 USD for each 5 "
        "minutes of use, 15.60 USD a month stored, and expires after 8 h." in body
    )


def test_a_deleted_endpoint_can_be_deployed_again_without_training() -> None:
    assert f"finetune deploy {RUN_ID} --stage prod" in of_deletion().body


def test_the_guide_shows_the_message_that_is_sent() -> None:
    console = "https://us-east-1.console.aws.amazon.com/s3/object/finetune-dev-storage-…/report.html"
    signed = "https://finetune-dev-storage-….s3.amazonaws.com/runs/pirate-0a1b2c3d/report.html?X-Amz-…"
    link = ReportLink(PAGE, console, signed)
    sent = messages.run_succeeded(any_status(), any_plan(), any_evaluation(), stage="dev", report=link)
    assert f"```\n{sent.subject}\n\n{sent.body}\n```" in (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


def test_a_run_without_an_endpoint_names_no_endpoint() -> None:
    plan = any_plan()
    plan = plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update={"deploy": False})})
    body = messages.run_succeeded(any_status(endpoint=""), plan, None, stage="dev", report=REPORT).body
    assert "finetune ask" not in body
    assert "per hour" not in body


def test_a_training_without_a_bill_yet_is_not_reported_as_free() -> None:
    body = of_success(cost=Cost(estimate_usd=41.2)).body
    assert "Cost: not yet known for training (estimate: 41.20 USD)" in body


def test_a_signed_link_says_who_can_open_it_and_for_how_long() -> None:
    body = messages.run_succeeded(any_status(), any_plan(), None, stage="dev", report=SIGNED).body
    assert f"Anyone with this link can open it, for up to {LINK_HOURS} hours:\n{SIGNED.signed}\n" in body
    assert "Anyone" not in of_success().body
    assert timedelta(hours=LINK_HOURS) <= timedelta(days=7)  # the maximum of SigV4


def test_a_subscription_can_select_messages_by_their_attributes() -> None:
    named = {"stage": "prod", "run_id": RUN_ID}
    assert of_success().attributes == named | {"state": "succeeded", "verdict": "helped"}
    assert of_approval().attributes == named | {"state": "waiting for approval", "verdict": "helped"}
    assert of_failure().attributes == named | {"state": "failed"}
    assert of_abort().attributes == named | {"state": "aborted"}
    assert of_deletion().attributes == named | {"state": "endpoint deleted"}


def test_a_failure_after_the_evaluation_has_its_verdict() -> None:
    status = any_failed_status(verdict=Verdict.WORSE)
    sent = messages.run_failed(status, any_error(), stage="dev", report=REPORT)
    assert sent.attributes["verdict"] == "worse"


def test_a_subject_is_valid_for_sns_whatever_the_code_contains() -> None:
    for code in ("X" * 300, "line\nbreak", "\u202eé\x1b[2J"):
        subject = of_failure(code=code).subject
        assert re.fullmatch(rf"\[prod\] [ -~]{{1,{MAX_SUBJECT - 7}}}", subject), subject


def test_text_from_the_data_is_cut_and_cannot_control_a_terminal() -> None:
    body = of_failure(message="\x1b[2J" + "x" * 5_000).body
    assert "\x1b" not in body
    assert len(body) < 1_200


def test_an_approval_message_has_losses_verdict_costs_and_both_commands() -> None:
    body = of_approval().body
    for expected in (
        "training loss 4.05 → 0.73",
        "Tuning helped",
        "38.75 USD for training; the endpoint costs 37.69 USD per hour",
        "\nfinetune approve pirate-0a1b2c3d --stage prod",
        '\nfinetune reject pirate-0a1b2c3d --stage prod --reason "..."',
        "05 Mar 09:00 UTC",
        LINK,
    ):
        assert expected in body


def test_an_approval_message_says_where_a_promoted_model_was_trained_and_how_it_answered() -> None:
    names = {"run_id": RUN_ID, "training_job": "job", "artefact_digest": "a" * 64}
    promotion = {"model_package": PACKAGE, "scores": SCORES, **names}
    asked = messages.approval_requested(
        any_status(training_job="", cost=Cost()),
        any_plan(promotion=promotion),
        None,
        answer_by=at(86_400),
        stage="prod",
        report=REPORT,
    )
    where = f"It is {PACKAGE} of the account 111122223333, evaluated there: verdict helped, rouge-l:tuned 0.533."
    assert where in asked.body
    assert "Cost: none, because no training job started; the endpoint costs" in asked.body


@pytest.mark.parametrize("make", [*EVERY, of_approval])
def test_every_message_has_a_form_for_a_chat(make: Callable[[], Message]) -> None:
    chat = make().chat
    jsonschema.validate(chat, CHAT)
    assert chat["metadata"]["threadId"] == RUN_ID
    assert chat["content"]["title"] == make().subject


def test_text_from_the_data_mentions_nobody_in_a_chat() -> None:
    description = of_failure(message="<!channel> look & see").chat["content"]["description"]
    assert description.startswith("&lt;!channel&gt; look &amp; see")


def test_a_message_about_no_run_has_no_thread() -> None:
    chat = messages.upload_refused("inbox/a/b.jsonl", any_error(), stage="prod").chat
    jsonschema.validate(chat, CHAT)
    assert "threadId" not in chat["metadata"]


def test_what_a_judge_said_follows_the_verdict() -> None:
    said = judged(any_judgement())
    assert said in of_success(judgement=said).body
    assert "judge" not in of_success().body
