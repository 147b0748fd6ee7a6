"""Imported models whose run failed, was aborted, or left them behind."""

import json
from datetime import timedelta

import pytest

from finetuning.aws.bedrock import bedrock
from finetuning.errors import Code, FineTuningError
from finetuning.handlers import report_failure
from finetuning.operations.imports import (
    expire_failed_import,
    find_alias,
    remove_unfinished_import,
    runs_with_imports,
    take_back_import,
)
from finetuning.operations.run import Run
from finetuning.runs.aliases import ImportedModel
from finetuning.runs.tags import TTL_TAG
from finetuning.runs.uploads import Upload
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke
from tests.builders.imports import imported_run, serve
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, START

NAME = f"{PREFIX}-{RUN_ID}"


@pytest.fixture
def run(cloud: FakeAws, memory: MemoryStore) -> Run:
    return imported_run(memory)


def test_a_model_for_which_no_name_stands_is_deleted(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_model()
    assert remove_unfinished_import(run) == [f"Deleted the imported model {NAME}"]
    assert cloud.bedrock.models == {}
    assert remove_unfinished_import(run) == []


def test_a_model_that_serves_or_is_kept_for_a_rollback_stays(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    arn = cloud.bedrock.add_model()
    serve(memory, "faq", arn)
    assert remove_unfinished_import(run) == []
    other = cloud.bedrock.add_model(f"{PREFIX}-new-00000000", "new-00000000")
    serve(memory, "faq", other, "new-00000000", (ImportedModel(arn=arn, name=NAME, run_id=RUN_ID, since=START),))
    assert remove_unfinished_import(run) == []
    assert set(cloud.bedrock.models) == {arn, other}


def test_a_model_of_somebody_else_stays(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_model(run_id=None)
    assert remove_unfinished_import(run) == []
    assert cloud.bedrock.names() == [NAME]


def test_an_import_in_progress_cannot_be_stopped_and_the_run_says_so(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME)
    (line,) = remove_unfinished_import(run)
    assert line == f"The import {NAME} cannot be stopped; the sweeper deletes its model once it is there"


def test_a_run_that_is_not_imported_makes_no_call(cloud: FakeAws, memory: MemoryStore) -> None:
    plain = any_run(memory)
    assert [remove_unfinished_import(plain), expire_failed_import(plain), take_back_import(plain, START)] == [
        [],
        [],
        [],
    ]
    assert cloud.bedrock.calls == []


@pytest.mark.parametrize(("ttl", "then"), [("never", "8"), ("4", "4")])
def test_a_model_that_serves_although_its_run_failed_expires(
    cloud: FakeAws, memory: MemoryStore, run: Run, ttl: str, then: str
) -> None:
    arn = cloud.bedrock.add_model(tags={TTL_TAG: ttl})
    serve(memory, run.names.endpoint, arn)
    (line,) = expire_failed_import(run)
    assert "answers with this run's model although the run failed" in line
    assert bedrock().tags(arn)[TTL_TAG] == then


def test_a_failed_run_that_replaced_a_model_advises_the_rollback(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    old = ImportedModel(arn="arn:old", name="old", run_id="old-00000000", since=START)
    serve(memory, run.names.endpoint, cloud.bedrock.add_model(), earlier=(old,))
    for line in (*expire_failed_import(run), *take_back_import(run, START)):
        assert f"`finetune rollback {run.names.endpoint} --stage dev` restores the earlier model" in line
    assert cloud.bedrock.names() == [NAME]


def test_an_aborted_run_takes_back_only_what_it_switched_itself(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    serve(memory, run.names.endpoint, cloud.bedrock.add_model())
    assert take_back_import(run, START + timedelta(minutes=1)) == []
    assert take_back_import(run, START) == [f"Deleted the imported model {NAME}"]
    alias = find_alias(memory, run.names.endpoint)
    assert alias
    assert alias.serving is None


def test_the_sweep_finds_models_for_which_no_name_stands(cloud: FakeAws, memory: MemoryStore) -> None:
    cloud.bedrock.add_model(f"{PREFIX}-left-00000000", "left-00000000", hours_old=1)
    cloud.bedrock.add_model(f"{PREFIX}-new-00000000", "new-00000000")
    cloud.bedrock.add_model(f"{PREFIX}-foreign-00000000", run_id=None, hours_old=1)
    serve(memory, "faq", cloud.bedrock.add_model(f"{PREFIX}-live-00000000", "live-00000000", hours_old=1))
    assert list(runs_with_imports(memory, hours_ago(0.5))) == ["left-00000000"]


def test_the_report_of_a_failure_deletes_the_model_and_says_so(cloud: FakeAws, memory: MemoryStore) -> None:
    upload = Upload("uploads", "runs/demo/run.json", "1")
    run = imported_run(memory, upload.run_id)
    cloud.bedrock.add_model(f"{PREFIX}-{upload.run_id}", upload.run_id)
    worse = FineTuningError(Code.EVALUATION_BELOW_BASE, "It is worse.", "Train longer.")
    event = {"bucket": upload.bucket, "key": upload.key, "version_id": upload.version_id, "execution_arn": "arn:first"}
    caught = {"Error": "EndpointFailed", "Cause": json.dumps({"errorMessage": str(worse)})}
    invoke(report_failure, event, state="EvaluateAnswers", error=caught)
    assert cloud.bedrock.models == {}
    assert f"Deleted the imported model {PREFIX}-{upload.run_id}" in [event.message for event in run.status.events]
