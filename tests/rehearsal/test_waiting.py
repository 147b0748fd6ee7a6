"""What a run waits for on the emulated AWS: a person's word, instances, its turn."""

import json
from typing import Any

import pytest

from cli.deployment import Deployment
from finetuning.aws.clients import client
from finetuning.runs.layout import RunLayout
from tests.rehearsal.product import Product, any_chats

CHATS = b"".join(any_chats())
ASKING = {"approval": True, "endpoint": {"deploy": True}}


@pytest.fixture
def command(product: Product, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The operator's command on the emulated AWS."""
    for name, value in product.emulator.environment().items():
        monkeypatch.setenv(name, value)
    client.cache_clear()
    yield Deployment.find("dev")
    client.cache_clear()


def waits_for_approval(product: Product, run_id: str) -> dict[str, Any]:
    return product.until(run_id, lambda status: "finetune approve" in status.get("progress", ""))


def test_an_approved_run_deploys_and_says_who_allowed_it(product: Product, command: Deployment) -> None:
    run_id = product.submit(CHATS, **ASKING)
    waiting = waits_for_approval(product, run_id)
    assert waiting["endpoint"] == ""
    command.approve(run_id)
    ended = product.ended(run_id)
    assert (ended["state"], ended["progress"]) == ("succeeded", ""), ended["error"]
    assert "ApproveDeployment" in product.states_of(run_id)


def test_a_rejected_run_fails_with_the_reason_and_keeps_its_model(product: Product, command: Deployment) -> None:
    run_id = product.submit(CHATS, **ASKING)
    waits_for_approval(product, run_id)
    command.reject(run_id, "The loss is too high.")
    ended = product.ended(run_id)
    assert ended["error"]["code"] == "APPROVAL_REJECTED"
    assert "The loss is too high." in ended["error"]["message"]
    assert "DeployEndpoint" not in product.states_of(run_id)
    artifact = RunLayout(run_id).model_artifact(ended["training_job"])
    assert product.emulator.client("s3").list_objects_v2(Bucket=product.artifacts, Prefix=artifact)["KeyCount"] > 0


def test_without_capacity_the_model_s_other_types_are_tried_the_cheapest_first(product: Product) -> None:
    product.emulator.inject("capacity", times=2)
    run_id = product.submit(CHATS)
    ended = product.ended(run_id)
    assert ended["state"] == "succeeded", ended["error"]
    ladder = ended["ladder"]
    assert [rung["outcome"] for rung in ladder] == ["no_capacity", "no_capacity", "completed"]
    plan = json.loads(
        product.emulator.client("s3").get_object(Bucket=product.artifacts, Key=RunLayout(run_id).plan)["Body"].read()
    )
    options = plan["training"]["options"]
    assert [rung["instance_type"] for rung in ladder] == [option["instance_type"] for option in options[:3]]
    assert ended["cost"]["estimate_usd"] == options[2]["estimate"]["usd"]
    assert ended["training_job"] == ladder[2]["job_name"]


def test_no_role_was_refused_anything(product: Product) -> None:
    """Last in the file: it judges all the runs before it."""
    assert [call for call in product.emulator.denials() if "/finetune-" in call["caller"]] == []
