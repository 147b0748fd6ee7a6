"""A judge in the emulated Bedrock: it reads both answers, in both orders, and its faults leave the run as it is."""

import json
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.errors import Code
from finetuning.evaluation.judging import INSTRUCTION
from finetuning.runs.layout import RunLayout
from tests.rehearsal.support.product import JUDGE, JUDGE_PROFILE, Product, any_chats
from tests.rehearsal.support.stacks import any_name

PAIR = {
    "prompt": "Who keeps the log?",
    "reference": "The mate keeps the log of the ship.",
    "A": "The mate keeps the log of the ship.",
    "B": "Nobody knows.",
}


def judged(judge: str) -> dict[str, Any]:
    """Changes to SETTINGS for a run with a judge, whose training changes the model's answers."""
    return {"endpoint": {"deploy": True}, "validation_fraction": 0.5, "evaluation": {"prompts": 9, "judge": judge}}


def converse(product: Product, pair: dict[str, str], judge: str = JUDGE, **inference: Any) -> str:
    answer = product.emulator.client("bedrock-runtime", attempts=1).converse(
        modelId=judge,
        messages=[{"role": "user", "content": [{"text": f"{INSTRUCTION}\n\n{json.dumps(pair)}"}]}],
        inferenceConfig={"maxTokens": 16, "temperature": 0.0, **inference},
    )
    return str(answer["output"]["message"]["content"][0]["text"])


def evaluation(product: Product, run_id: str) -> dict[str, Any]:
    body = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).evaluation)["Body"]
    document: dict[str, Any] = json.loads(body.read())
    return document


def test_the_judge_reads_the_answers_and_not_their_places(product: Product) -> None:
    swapped = PAIR | {"A": PAIR["B"], "B": PAIR["A"]}
    assert (converse(product, PAIR), converse(product, swapped)) == ("A", "B")


def test_the_judge_prefers_the_first_of_two_answers_that_are_nearly_as_good(product: Product) -> None:
    near = PAIR | {"B": f"{PAIR['A']} Aye."}
    assert {converse(product, near), converse(product, near | {"A": near["B"], "B": near["A"]})} == {"A"}
    assert converse(product, PAIR | {"B": PAIR["A"]}) == "tie"


@pytest.mark.parametrize(
    ("judge", "inference", "code"),
    [
        ("amazon.nova-ultra-v1:0", {}, "ValidationException"),
        ("anthropic.claude-3-haiku-20240307-v1:0", {}, "AccessDeniedException"),
        (JUDGE, {"temperature": 2.0}, "ValidationException"),
    ],
)
def test_the_judge_refuses_what_bedrock_refuses(
    product: Product, judge: str, inference: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        converse(product, PAIR, judge, **inference)
    assert refused.value.response["Error"]["Code"] == code


def test_a_profile_judges_and_its_role_may_call_it(product: Product) -> None:
    run_id = product.submit(b"".join(any_chats()), **judged(JUDGE_PROFILE))
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    report = evaluation(product, run_id)
    found = report["judgement"]
    assert found["judge"] == JUDGE_PROFILE
    assert found["prompts"] == len(report["rows"]) > 3
    assert (found["unusable"], found["not_judged"]) == (0, 0)
    assert found["wins"] + found["losses"] + found["ties"] == found["prompts"]
    assert status["judgement"].startswith(f"The judge {JUDGE_PROFILE} prefers the tuned model's answer on ")
    assert any(check["check"] == "judge" and check["ok"] for check in status["checks"])


@pytest.mark.parametrize(
    ("fault", "message", "counted"),
    [("judge-garbage", "I would say that A", "unusable"), ("judge-denied", "no access to the model", "not_judged")],
)
def test_a_judge_that_says_nothing_usable_leaves_the_run_and_its_verdict(
    product: Product, fault: str, message: str, counted: str
) -> None:
    name = any_name("judge")
    product.emulator.inject(fault, match=f"{product.function('judge_batch')}", times=10_000, message=message)
    run_id = product.submit(b"".join(any_chats()), name=name, **judged(JUDGE))
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    report = evaluation(product, run_id)
    found = report["judgement"]
    equal = sum(row["tuned"]["text"] == row["base"]["text"] for row in report["rows"])
    assert found[counted] == found["prompts"] - equal > 0
    assert found["wins"] == found["losses"] == 0
    assert (message in found["error"]) is (fault == "judge-denied")
    assert status["verdict"] in ("helped", "no measurable change", "worse")


def test_a_judge_that_is_throttled_for_longer_than_a_function_waits_is_asked_again_by_the_step(
    product: Product,
) -> None:
    # Two questions about each of 8 or 9 prompts, of which the function tries each three times: at most 54 calls.
    product.emulator.inject("throttling", match=f"Converse {product.function('judge_batch')}", after=3, times=60)
    run_id = product.submit(b"".join(any_chats()), **judged(JUDGE))
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    found = evaluation(product, run_id)["judgement"]
    assert (found["not_judged"], found["unusable"]) == (0, 0)
    happened = [each for each in product.emulator.happened() if each["match"].startswith("Converse")]
    assert len(happened) == 60


def test_a_function_that_is_killed_asks_the_judge_nothing_again_that_was_kept(product: Product) -> None:
    name, function = any_name("killed"), product.function("judge_batch")
    product.emulator.inject("function-killed", match=f"{function} {name}", after=6)
    run_id = product.submit(b"".join(any_chats()), name=name, **judged(JUDGE))
    status = product.ended(run_id)
    assert status["state"] == "succeeded", status["error"]
    assert f"{function} {name}" in [each["match"] for each in product.emulator.happened()]
    kept = [each["replies"] for each in product.history(RunLayout(run_id).answers("judge", 0))]
    assert len(kept) > 5
    for before, after in pairwise(kept):
        assert {number: after[number] for number in before} == before
    found = evaluation(product, run_id)["judgement"]
    assert (found["not_judged"], found["unusable"]) == (0, 0)


def test_a_judge_that_the_stage_does_not_allow_is_refused_before_anything_costs_money(product: Product) -> None:
    run_id = product.submit(b"".join(any_chats()), **judged("amazon.nova-premier-v1:0"))
    status = product.ended(run_id)
    assert status["state"] == "failed"
    (finding,) = status["error"]["findings"]
    assert finding["code"] == Code.JUDGE_NOT_ALLOWED
    assert not product.jobs_of(run_id)
