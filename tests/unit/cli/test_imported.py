"""Names that stand for an imported model: asked, listed, kept longer, switched back, cleaned up."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from finetuning.bedrock.prices import ImportPrice
from finetuning.errors import FineTuningError
from finetuning.operations.imports import find_alias
from finetuning.runs.aliases import ImportedModel
from finetuning.runs.names import Names
from finetuning.runs.tags import IDLE_TAG, KEPT_TAG, TTL_TAG
from finetuning_cli.display.endpoints import endpoints_table
from finetuning_cli.stage.clean_up import remaining_resources, remove_resources
from finetuning_cli.stage.conversation import Conversation
from finetuning_cli.stage.deployment import Deployment
from finetuning_cli.stage.endpoints import find_served, list_endpoints
from finetuning_cli.stage.imported import extend_imported, roll_back_name
from tests.builders.aws import FakeAws
from tests.builders.cli import Command
from tests.builders.imports import imported_run, serve
from tests.builders.jumpstart import any_stage
from tests.builders.memory import PREFIX, MemoryStore
from tests.builders.runs import RUN_ID, START

FAQ = f"{PREFIX}-faq"
NAME = Names(PREFIX, RUN_ID).imported_model
LIMITS = {TTL_TAG: "8", IDLE_TAG: "never"}


@pytest.fixture
def deployment(cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setattr(Deployment, "store", property(lambda _: memory))
    return Deployment(PREFIX, "uploads", "artifacts", "arn:machine", "arn:topic", any_stage(bedrock_import=True))


def served(cloud: FakeAws, memory: MemoryStore, *earlier: ImportedModel, hours_old: float = 1) -> str:
    """The ARN of the model that `faq` stands for."""
    price = ImportPrice(units=2, usd_per_unit_minute=0.05718, usd_per_unit_month=1.95)
    imported_run(memory, name="faq", import_price=price.model_dump()).record("", endpoint=FAQ)
    arn = cloud.bedrock.add_model(tags=LIMITS, hours_old=hours_old)
    serve(memory, FAQ, arn, earlier=earlier)
    return arn


@pytest.mark.parametrize("name", [FAQ, "faq", RUN_ID])
def test_a_name_or_a_run_leads_to_the_model_that_serves_and_its_run_s_plan(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment, name: str
) -> None:
    arn = served(cloud, memory)
    found, plan, model = find_served(deployment, name)
    assert (found, model and model.arn, plan and plan.run_id) == (FAQ, arn, RUN_ID)


def test_a_question_goes_to_the_model_by_its_arn_in_the_run_s_own_template(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment
) -> None:
    arn = served(cloud, memory)
    name, plan, model = find_served(deployment, "faq")
    assert model
    body = b'{"choices": [{"text": "Arr", "finish_reason": "stop"}]}'
    cloud["bedrock-runtime"].answers["invoke_model"] = lambda **_: {"body": io.BytesIO(body)}
    assert Conversation(name, plan, model=model.arn).ask("Ahoy?").text == "Arr"
    (request,) = cloud["bedrock-runtime"].requests("invoke_model")
    assert request["modelId"] == arn
    assert json.loads(request["body"])["prompt"].endswith("assistant<|end_header_id|>\n\n")
    assert "<|eot_id|>" in json.loads(request["body"])["stop"]


def test_it_has_no_address_for_openai_s_clients_and_its_arn_is_named(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = served(cloud, memory)
    monkeypatch.setattr(Deployment, "find", lambda stage: deployment)
    with pytest.raises(FineTuningError, match="has no address for OpenAI's clients") as refused:
        Command()("token", "faq")
    assert arn in refused.value.fix


def test_the_list_shows_what_a_model_costs_when_it_is_used_and_stored(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment
) -> None:
    old = cloud.bedrock.add_model(f"{PREFIX}-old-00000000", "old-00000000", tags=LIMITS)
    before = ImportedModel(arn=old, name=f"{PREFIX}-old-00000000", run_id="old-00000000", since=START)
    served(cloud, memory, before, hours_old=73)
    by_name = {each.name: each for each in list_endpoints(deployment)}
    assert by_name[FAQ].status == "Imported"
    assert by_name[FAQ].usd_by_use == "0.57 USD for each 5 minutes of use, 3.90 USD a month stored"
    assert by_name[FAQ].usd_so_far == pytest.approx(0.39, abs=0.001)
    assert by_name[f"{PREFIX}-old-00000000"].status == f"Kept for a rollback of {FAQ}"
    for width in (60, 200):
        console = Console(width=width, file=io.StringIO())
        console.print(endpoints_table(list(by_name.values()), datetime.now(UTC), width))
        printed: Any = console.file
        assert "Imported in Bedrock" in printed.getvalue()
        assert "not counted" in printed.getvalue()


def test_extend_keeps_the_model_longer_and_never_shorter(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment
) -> None:
    arn = served(cloud, memory)
    _, _, model = find_served(deployment, "faq")
    assert model
    late = extend_imported(deployment, model, 100)
    assert late
    assert late.at > datetime.now(UTC) + timedelta(hours=99)
    again = extend_imported(deployment, model, 1)
    assert again == late
    assert cloud.bedrock.tags[arn][KEPT_TAG]


def test_rollback_switches_the_name_to_the_newest_model_that_is_still_there(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment
) -> None:
    old = cloud.bedrock.add_model(f"{PREFIX}-old-00000000", "old-00000000")
    gone = ImportedModel(arn="arn:gone", name="gone", run_id="gone-00000000", since=START)
    kept = ImportedModel(arn=old, name=f"{PREFIX}-old-00000000", run_id="old-00000000", since=START)
    served(cloud, memory, gone, kept)
    alias = roll_back_name(deployment, FAQ)
    assert alias.serving
    assert (alias.serving.arn, alias.earlier) == (old, [])
    assert find_alias(memory, FAQ) == alias


def test_clean_up_deletes_the_model_and_what_stands_for_it(
    cloud: FakeAws, memory: MemoryStore, deployment: Deployment
) -> None:
    served(cloud, memory)
    run = deployment.run(RUN_ID)
    assert f"imported model {NAME}" in remaining_resources(run)
    assert f"Deleted the imported model {NAME}, which {FAQ} used or kept for a rollback" in remove_resources(run)
    assert cloud.bedrock.models == {}
    alias = find_alias(memory, FAQ)
    assert alias
    assert alias.models == []
    assert remaining_resources(run) == []


def test_a_stage_without_imports_makes_no_call_to_bedrock(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deployment, "store", property(lambda _: memory))
    plain = Deployment(PREFIX, "uploads", "artifacts", "arn:machine", "arn:topic", any_stage())
    assert list(list_endpoints(plain)) == []
    assert cloud.bedrock.calls == []
