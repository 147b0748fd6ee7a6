import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from finetuning.report import messages
from finetuning.report.messages import LINK_HOURS, MAX_SUBJECT, Message
from finetuning.runs.status import Cost, RunState
from tests.builders.runs import RUN_ID, any_evaluation, any_failed_status, any_plan, any_status, at

ROOT = Path(__file__).resolve().parents[3]
LINK = "https://artifacts.s3.amazonaws.com/runs/pirate-0a1b2c3d/report.html?X-Amz-Signature=0"


def any_error(**changes: str) -> dict[str, str]:
    return {"code": "DATASET_REFUSED", "message": "line 7 of chat.jsonl is not JSON", "fix": "Mend line 7."} | changes


def of_success(**changes: object) -> Message:
    return messages.run_succeeded(any_status(**changes), any_plan(), any_evaluation(), stage="prod", report=LINK)


def of_failure(**changes: str) -> Message:
    return messages.run_failed(any_failed_status(), any_error(**changes), stage="prod", report=LINK)


def of_abort(**changes: str) -> Message:
    status = any_failed_status(state=RunState.ABORTED)
    return messages.run_aborted(status, any_error(**changes), stage="prod", report=LINK)


def of_deletion() -> Message:
    return messages.endpoint_deleted("finetune-prod-parrot", RUN_ID, "its time is over", stage="prod", console=LINK)


def of_approval() -> Message:
    answer_by, status = at(86_400), any_status(state=RunState.RUNNING, endpoint="")
    return messages.approval_asked(status, any_plan(), any_evaluation(), answer_by=answer_by, stage="prod", report=LINK)


EVERY = [of_success, of_failure, of_abort, of_deletion]


@pytest.mark.parametrize("make", EVERY)
def test_every_message_has_a_cost_one_link_and_one_command_of_its_stage(make: Callable[[], Message]) -> None:
    body = make().body
    assert body.count("https://") == body.count("\nfinetune ") == 1
    assert "Cost: " in body
    command = body.splitlines()[-1]
    assert command.startswith("finetune ")
    assert command.endswith(" --stage prod")


@pytest.mark.parametrize("make", EVERY)
def test_every_message_fits_a_phone(make: Callable[[], Message]) -> None:
    message = make()
    assert len(message.body.replace(LINK, "")) < 900
    assert max(map(len, message.body.splitlines())) < 400  # longer is no paragraph any more


@pytest.mark.parametrize("make", [of_failure, of_abort])
def test_a_message_says_what_went_wrong_and_what_to_do(make: Callable[[], Message]) -> None:
    body = make().body
    assert body.startswith("line 7 of chat.jsonl is not JSON")
    assert "What to do: Mend line 7." in body
    assert "Cost: nothing, for no training began." in body


def test_a_success_says_where_it_answers_whether_it_helped_and_what_it_costs() -> None:
    message = of_success()
    assert message.subject == "Run pirate-0a1b2c3d succeeded"
    for expected in (
        "finetune-dev-pirate-0a1b2c3d answers.",
        "Tuning helped: ROUGE-L 0.13 → 0.53",
        "38.75 USD for the training; the endpoint runs for 37.69 USD an hour; it goes after 8 h or after 60 ",
        'finetune ask finetune-dev-pirate-0a1b2c3d "What can you help me with?" --stage prod',
    ):
        assert expected in message.body


def test_an_endpoint_that_is_gone_comes_back_without_training() -> None:
    assert f"finetune deploy {RUN_ID} --stage prod" in of_deletion().body


def test_the_readme_shows_a_message_as_it_is_sent() -> None:
    link = "https://finetune-dev-storage-….s3.amazonaws.com/runs/pirate-0a1b2c3d/report.html?X-Amz-…"
    sent = messages.run_succeeded(any_status(), any_plan(), any_evaluation(), stage="dev", report=link)
    assert f"```\n{sent.subject}\n\n{sent.body}\n```" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_run_without_an_endpoint_is_not_said_to_answer() -> None:
    plan = any_plan()
    plan = plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update={"deploy": False})})
    body = messages.run_succeeded(any_status(endpoint=""), plan, None, stage="dev", report=LINK).body
    assert "finetune ask" not in body
    assert "an hour" not in body


def test_a_training_that_was_not_billed_yet_is_not_said_to_be_free() -> None:
    body = of_success(cost=Cost(estimate_usd=41.2)).body
    assert "not known; 41.20 USD were predicted" in body


def test_a_link_says_for_how_long_it_opens_and_for_whom() -> None:
    assert f"opens for up to {LINK_HOURS} hours, for whoever has this link" in of_failure().body
    assert timedelta(hours=LINK_HOURS) <= timedelta(days=7)  # the longest S3 signs for


def test_a_subject_is_what_sns_takes_whatever_the_run_is_called() -> None:
    for code in ("X" * 300, "line\nbreak", "\u202eé\x1b[2J"):
        subject = of_failure(code=code).subject
        assert re.fullmatch(rf"[A-Za-z][ -~]{{0,{MAX_SUBJECT - 1}}}", subject), subject


def test_a_text_of_the_data_is_cut_and_cannot_drive_a_terminal() -> None:
    body = of_failure(message="\x1b[2J" + "x" * 5_000).body
    assert "\x1b" not in body
    assert len(body) < 1_200


def test_whoever_approves_is_told_the_losses_the_scores_both_costs_and_both_answers() -> None:
    body = of_approval().body
    for told in (
        "training loss 4.05 → 0.73",
        "Tuning helped",
        "38.75 USD for the training; the endpoint runs for 37.69 USD an hour",
        "\nfinetune approve pirate-0a1b2c3d --stage prod",
        '\nfinetune reject pirate-0a1b2c3d --stage prod --reason "..."',
        "05 Mar 09:00 UTC",
        LINK,
    ):
        assert told in body
