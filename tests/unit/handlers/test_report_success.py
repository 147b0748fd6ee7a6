"""ReportSuccess: status, report page, message and metric of a run that succeeded."""

from datetime import datetime

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.handlers import report_success
from finetuning.operations.imports import find_alias
from finetuning.runs.aliases import ImportedModel
from finetuning.runs.layout import alias_key
from finetuning.runs.status import RunState, Verdict
from finetuning.settings import settings
from tests.builders.aws import FakeAws, ends
from tests.builders.handlers import invoke, metric
from tests.builders.imports import imported_run, serve
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, START, any_evaluation, any_plan, at


@pytest.mark.parametrize(
    ("deploy", "message"), [(True, f"The endpoint {PREFIX}-faq is in service"), (False, "The tuned model is ready")]
)
def test_the_run_has_succeeded_and_says_what_there_is(
    cloud: FakeAws, memory: MemoryStore, deploy: bool, message: str
) -> None:
    run = any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"name": "faq", "deploy": deploy})
    result = invoke(report_success, run_id=RUN_ID)
    assert result["message"] == message
    assert (run.status.state, run.status.events[-1].message) == (RunState.SUCCEEDED, message)


def test_an_imported_model_is_served_by_bedrock(cloud: FakeAws, memory: MemoryStore) -> None:
    imported_run(memory).record("", imported_model="arn")
    assert invoke(report_success, run_id=RUN_ID)["message"] == f"{PREFIX}-{RUN_ID} is served by Bedrock"


def test_a_name_that_stood_for_an_import_is_left_to_the_endpoint(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_IMPORT", "true")
    settings.cache_clear()
    name, before = f"{PREFIX}-faq", ImportedModel(arn="arn:older", name="older", run_id="older-00000000", since=START)
    serve(memory, name, "arn:old", "old-00000000", earlier=(before,))
    run = any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"name": "faq"})
    run.record("", imported_model="arn:old")
    assert invoke(report_success, run_id=RUN_ID)["message"] == f"The endpoint {name} is in service"
    alias = find_alias(memory, name)
    assert alias
    assert (alias.models, alias.owners) == ([], ["pirate"])
    assert run.status.imported_model == ""
    assert [event.message for event in run.status.events[-2:]] == [
        f"{name} no longer refers to an imported model; the next sweep deletes finetune-dev-old-00000000 and older",
        f"The endpoint {name} is in service",
    ]
    written = memory.read(alias_key(name))
    invoke(report_success, run_id=RUN_ID)
    assert memory.read(alias_key(name)) == written


def test_a_run_without_an_endpoint_leaves_the_name_as_it_is(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_IMPORT", "true")
    settings.cache_clear()
    alias = serve(memory, f"{PREFIX}-faq", "arn:old", "old-00000000")
    any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"name": "faq", "deploy": False})
    invoke(report_success, run_id=RUN_ID)
    assert find_alias(memory, f"{PREFIX}-faq") == alias


def test_the_page_is_written_after_the_status_and_linked(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    memory.save(run.layout.evaluation, any_evaluation())
    result = invoke(report_success, run_id=RUN_ID)
    page = memory.read(run.layout.report_page)
    assert b"succeeded" in (page or b"")
    assert run.layout.report_page in result["links"]["Report"].replace("%2F", "/")
    (message,) = cloud.messages()
    assert memory.link(run.layout.report_page, 12) in message


def test_a_stage_without_signed_links_sends_the_consoles_alone(
    cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNED_REPORT_LINKS", "false")
    settings.cache_clear()
    run = any_run(memory)
    result = invoke(report_success, run_id=RUN_ID)
    (message,) = cloud.messages()
    assert result["links"]["Report"] in message
    assert memory.link(run.layout.report_page, 12) not in message


def test_a_redeployment_leaves_the_trainings_page_as_it_was(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    invoke(report_success, run_id=RUN_ID)
    of_training = memory.read(run.layout.report_page)
    run.record("Deploying the model of this run again", redeployed_at=at(86_400), state=RunState.RUNNING)
    invoke(report_success, run_id=RUN_ID)
    assert memory.read(run.layout.report_page) == of_training
    assert b"Redeployment of run" in (memory.read(run.layout.redeployment_page) or b"")


def test_the_event_about_the_end_is_of_the_run_as_it_ended(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    run.record("", verdict=Verdict.WORSE)
    event = invoke(report_success, run_id=RUN_ID)["event"]
    assert (event["run_id"], event["state"], event["verdict"]) == (RUN_ID, "succeeded", "worse")
    assert event["report_s3_uri"] == f"s3://{memory.bucket}/{run.layout.report_page}"
    assert datetime.fromisoformat(event["ended_at"]) == run.status.updated_at


def test_the_run_is_counted(cloud: FakeAws, memory: MemoryStore, capsys: pytest.CaptureFixture[str]) -> None:
    any_run(memory)
    invoke(report_success, run_id=RUN_ID)
    assert metric(capsys.readouterr().out, "RunSucceeded") == 1


@pytest.mark.parametrize("ends_after", [0, 1])
def test_a_run_that_is_ended_at_its_last_step_has_not_succeeded(
    cloud: FakeAws, memory: MemoryStore, ends_after: int
) -> None:
    run = any_run(memory)
    run.record("", execution_arn="arn:execution")
    cloud["stepfunctions"].answers["describe_execution"] = ends(ends_after)
    with pytest.raises(FineTuningError) as raised:
        invoke(report_success, run_id=RUN_ID)
    assert raised.value.code == Code.RUN_ABORTED
    assert run.status.state is RunState.RUNNING  # for the sweep of runs, which reports it as aborted
    assert not list(cloud.messages())
