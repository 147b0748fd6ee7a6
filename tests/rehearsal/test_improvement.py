"""Whether tuning helps is measured on rows that were never trained on: a real training, real answers."""

import hashlib
import json
from typing import Any

import pytest

from finetuning.datasets.templates import rendered
from finetuning.runs.layout import RunLayout
from rehearsal.running import PROJECT
from tests.rehearsal.support.product import JUDGE, Product

DATA = PROJECT / "examples" / "chat" / "ships_log.jsonl"
SETTINGS: dict[str, Any] = {
    "hyperparameters": {
        "epoch": 16, "learning_rate": 0.004, "lora_r": 64, "lora_alpha": 64, "lora_dropout": 0, "seed": 10,
        "target_modules": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
        "per_device_train_batch_size": 2, "max_input_length": 512,
    },
    "validation_fraction": 0.2,
    "endpoint": {"deploy": True},
    "evaluation": {"prompts": 9, "compare_with_base": True, "judge": JUDGE},
}  # fmt: skip
"""What a random model of 0.2 million weights, which reads bytes, learns a voice from."""


@pytest.fixture(scope="module")
def tuned(product: Product) -> RunLayout:
    """The files of a run on the example's data that has succeeded."""
    status = product.ended(product.submit(DATA.read_bytes(), DATA.name, **SETTINGS), seconds=600)
    assert status["state"] == "succeeded", status["error"]
    (execution,) = product.executions_of(status["run_id"])
    product.execution_ended(execution)  # the page comes after the last status
    return RunLayout(status["run_id"])


def read(product: Product, key: str) -> bytes:
    body: bytes = product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=key)["Body"].read()
    return body


def test_the_tuned_model_is_better_than_the_base_model_on_rows_it_never_saw(product: Product, tuned: RunLayout) -> None:
    evaluation = json.loads(read(product, tuned.evaluation))
    comparison = evaluation["summary"]["comparison"]
    assert comparison["prompts"] == 9
    assert comparison["better"] >= 7
    assert comparison["gain"] > 0.05
    assert {row["source"] for row in evaluation["rows"]} == {"held-out"}


def test_the_report_page_says_so(product: Product, tuned: RunLayout) -> None:
    comparison = json.loads(read(product, tuned.evaluation))["summary"]["comparison"]
    page = read(product, tuned.report_page).decode()
    assert f"Tuning helped: ROUGE-L {comparison['base']:.2f} → {comparison['tuned']:.2f}" in page


def test_a_judge_that_reads_both_answers_in_both_orders_agrees(product: Product, tuned: RunLayout) -> None:
    evaluation = json.loads(read(product, tuned.evaluation))
    judgement = evaluation["judgement"]
    assert judgement["judge"] == JUDGE
    assert judgement["wins"] + judgement["losses"] + judgement["ties"] == judgement["prompts"] == 9
    assert judgement["wins"] > judgement["losses"]
    assert judgement["low"] <= judgement["win_rate"] <= judgement["high"]
    page = read(product, tuned.report_page).decode()
    assert f"win rate {judgement['win_rate']:.2f}, where a tie counts half" in page
    assert page.count("judge: tuned") == judgement["wins"]


def test_nothing_that_was_asked_is_a_row_that_was_trained_on(product: Product, tuned: RunLayout) -> None:
    listed = product.emulator.client("s3").list_objects_v2(Bucket=product.artifacts, Prefix=tuned.train)["Contents"]
    rows = [json.loads(line) for item in listed for line in read(product, item["Key"]).splitlines()]
    prompts = [json.loads(line) for line in read(product, tuned.prompts).splitlines()]
    trained = {digest(rendered(row, None, "Llama 3.1")) for row in rows}
    assert len(trained) == len(rows) > 20
    assert not trained & {digest(f"{asked['prompt']}{asked['reference']}<|eot_id|>") for asked in prompts}
    held_out = {asked["messages"][-1]["content"] for asked in prompts}
    assert {row["prompt"] for row in json.loads(read(product, tuned.evaluation))["rows"]} <= held_out


@pytest.mark.parametrize("gate", [False, True], ids=["without a gate", "with the gate"])
def test_a_training_that_learns_nothing_is_called_no_measurable_change(product: Product, gate: bool) -> None:
    status = run(product, learning_rate=1e-6, must_beat_base=gate)
    assert (status["state"], status["verdict"]) == ("succeeded", "no measurable change")
    comparison = json.loads(read(product, RunLayout(status["run_id"]).evaluation))["summary"]["comparison"]
    assert comparison["low"] <= 0 <= comparison["high"]
    page = read(product, RunLayout(status["run_id"]).report_page).decode()
    assert "Tuning made no measurable change: ROUGE-L" in page
    assert "Tuning helped" not in page


@pytest.mark.parametrize("gate", [False, True], ids=["without a gate", "with the gate"])
def test_a_training_that_diverges_is_called_broken_and_with_the_gate_nothing_is_live(
    product: Product, gate: bool
) -> None:
    status = run(product, learning_rate=1, epochs=4, must_beat_base=gate)
    assert (status["state"], status["verdict"]) == ("failed", "broken")
    assert status["error"]["code"] == "ENDPOINT_ANSWERS_BROKEN"
    layout = RunLayout(status["run_id"])
    assert "The tuned model is broken" in read(product, layout.report_page).decode()
    assert json.loads(read(product, layout.evaluation))["summary"]["problems"] > 4
    listed = product.emulator.client("sagemaker").list_endpoints(NameContains=status["run_id"])["Endpoints"]
    live = [endpoint["EndpointName"] for endpoint in listed if endpoint["EndpointStatus"] != "Deleting"]
    assert live == ([] if gate else [f"finetune-dev-{status['run_id']}"])


def run(product: Product, *, learning_rate: float, must_beat_base: bool, epochs: int = 1) -> dict[str, Any]:
    """The status of a run on the example's data that has ended, whose page is written."""
    settings = {
        **SETTINGS,
        "hyperparameters": {**SETTINGS["hyperparameters"], "learning_rate": learning_rate, "epoch": epochs},
        "evaluation": {"prompts": 9, "compare_with_base": True, "must_beat_base": must_beat_base},
    }
    status = product.ended(product.submit(DATA.read_bytes(), DATA.name, **settings), seconds=600)
    (execution,) = product.executions_of(status["run_id"])
    product.execution_ended(execution)
    return status


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
