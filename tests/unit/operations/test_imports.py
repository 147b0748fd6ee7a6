"""Imported models whose run failed, was aborted, or left them behind."""

import json
from datetime import timedelta

import pytest

from finetuning.aws.bedrock import bedrock
from finetuning.errors import Code, FineTuningError
from finetuning.handlers import report_failure
from finetuning.operations.import_life import ImportState, import_states
from finetuning.operations.imports import (
    delete_import,
    expire_failed_import,
    find_alias,
    find_import,
    forget_model,
    leave_to_endpoint,
    remove_unfinished_import,
    runs_with_imports,
    start_import,
    take_back_import,
)
from finetuning.operations.run import Run
from finetuning.planning.orders import import_job
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.expiry import Lifetime, deadline
from finetuning.runs.tags import KEPT_TAG, OWNER_TAG, RUN_TAG, TTL_TAG
from finetuning.runs.uploads import Upload
from finetuning.settings import NEVER
from tests.builders.aws import FakeAws, hours_ago
from tests.builders.handlers import invoke
from tests.builders.imports import imported_run, serve
from tests.builders.jumpstart import WITH_IMPORTS
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, START, any_plan

NAME = f"{PREFIX}-{RUN_ID}"
ORDER = import_job(any_plan(), WITH_IMPORTS, "s3://artifacts/model/")


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


def test_a_clean_up_deletes_the_model_that_a_name_stands_for_or_keeps_and_its_name_forgets_it(
    cloud: FakeAws, memory: MemoryStore, run: Run
) -> None:
    other = cloud.bedrock.add_model(f"{PREFIX}-new-00000000", "new-00000000")
    serve(memory, "another", other, "new-00000000")
    arn = cloud.bedrock.add_model()
    serve(memory, "faq", arn)
    found = find_import(bedrock(), run)
    assert found
    assert (found["modelArn"], found["modelName"]) == (arn, NAME)
    deleted = f"Deleted the imported model {NAME}, which faq used or kept for a rollback"
    assert delete_import(bedrock(), run) == [deleted]
    assert set(cloud.bedrock.models) == {other}
    faq, another = (find_alias(memory, name) for name in ("faq", "another"))
    assert (faq and faq.serving) is None
    assert another
    assert another.serving
    assert (find_import(bedrock(), run), delete_import(bedrock(), run)) == (None, [])


def test_a_clean_up_deletes_a_model_without_a_name_and_none_of_somebody_else(cloud: FakeAws, run: Run) -> None:
    arn = cloud.bedrock.add_model()
    assert delete_import(bedrock(), run) == [f"Deleted the imported model {NAME}"]
    assert arn not in cloud.bedrock.models
    cloud.bedrock.add_model(run_id=None)
    assert (find_import(bedrock(), run), delete_import(bedrock(), run)) == (None, [])
    assert cloud.bedrock.names() == [NAME]


def test_a_clean_up_asks_bedrock_only_about_a_run_that_imports_or_has_imported(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    plain = any_run(memory)
    cloud.bedrock.add_model()
    assert find_import(bedrock(), plain) is None
    assert cloud.bedrock.calls == []
    plain.record("Imported before it was deployed again on an endpoint", imported_model="arn:earlier")
    assert find_import(bedrock(), plain)


def test_an_import_in_progress_cannot_be_stopped_and_the_run_says_so(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job(NAME)
    (line,) = remove_unfinished_import(run)
    assert line == f"The import {NAME} cannot be stopped; the sweeper deletes its model once it is there"


def test_a_run_that_is_not_imported_makes_no_call(cloud: FakeAws, memory: MemoryStore) -> None:
    plain = any_run(memory)
    assert [remove_unfinished_import(plain), expire_failed_import(plain, START), take_back_import(plain, START)] == [
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
    (line,) = expire_failed_import(run, START)
    assert "answers with this run's model although the run failed" in line
    assert bedrock().tags(arn)[TTL_TAG] == then


def test_a_failed_run_that_replaced_a_model_advises_the_rollback(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    old = ImportedModel(arn="arn:old", name="old", run_id="old-00000000", since=START)
    serve(memory, run.names.endpoint, cloud.bedrock.add_model(), earlier=(old,))
    for line in (*expire_failed_import(run, START), *take_back_import(run, START)):
        assert f"`finetune rollback {run.names.endpoint} --stage dev` restores the earlier model" in line
    assert cloud.bedrock.names() == [NAME]


def test_an_aborted_run_takes_back_only_what_it_switched_itself(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    serve(memory, run.names.endpoint, cloud.bedrock.add_model())
    assert take_back_import(run, START + timedelta(minutes=1)) == []
    assert take_back_import(run, START) == [f"Deleted the imported model {NAME}"]
    alias = find_alias(memory, run.names.endpoint)
    assert alias
    assert alias.serving is None


def test_a_run_whose_model_is_deployed_to_an_endpoint_again_takes_back_no_name(
    cloud: FakeAws, memory: MemoryStore, run: Run
) -> None:
    serve(memory, run.names.endpoint, cloud.bedrock.add_model(tags={TTL_TAG: NEVER}))
    endpoint = run.plan.endpoint.model_copy(update={"target": "sagemaker"})
    run.save_plan(run.plan.model_copy(update={"endpoint": endpoint}))
    assert [*expire_failed_import(run, START), *take_back_import(run, START)] == []
    assert cloud.bedrock.names() == [NAME]


def test_the_sweep_finds_models_for_which_no_name_stands(cloud: FakeAws, memory: MemoryStore) -> None:
    cloud.bedrock.add_model(f"{PREFIX}-left-00000000", "left-00000000", hours_old=1)
    cloud.bedrock.add_model(f"{PREFIX}-new-00000000", "new-00000000")
    cloud.bedrock.add_model(f"{PREFIX}-foreign-00000000", run_id=None, hours_old=1)
    serve(memory, "faq", cloud.bedrock.add_model(f"{PREFIX}-live-00000000", "live-00000000", hours_old=1))
    assert list(runs_with_imports(memory, hours_ago(0.5))) == ["left-00000000"]


def test_the_sweep_leaves_a_model_that_is_not_settled_and_one_with_the_tags_of_another_owner(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    cloud.bedrock.add_model(f"{PREFIX}-theirs-00000000", None, creationTime=START, tags={RUN_TAG: "theirs-00000000"})
    cloud.bedrock.add_model(f"{PREFIX}-left-00000000", "left-00000000", creationTime=START)
    assert list(runs_with_imports(memory, START)) == ["left-00000000"]
    assert list(runs_with_imports(memory, START - timedelta(seconds=1))) == []


def test_the_state_of_each_imported_model_of_the_stage(cloud: FakeAws, memory: MemoryStore) -> None:
    """Those of others are passed over; one that serves lives from the time at which it began to."""
    since = START - timedelta(hours=5)
    cloud.bedrock.add_model(f"{PREFIX}-theirs-00000000", None, creationTime=START)
    left = cloud.bedrock.add_model(f"{PREFIX}-left-00000000", None, tags={OWNER_TAG: PREFIX}, creationTime=since)
    kept_until = START + timedelta(hours=30)
    limits = {TTL_TAG: "x", KEPT_TAG: kept_until.isoformat()}
    live = cloud.bedrock.add_model(tags=limits, creationTime=since)
    serve(memory, "faq", live)
    states = {state.arn: state for state in import_states(bedrock(), memory, PREFIX, Lifetime(8, 60))}
    lifetime = Lifetime(8, NEVER)
    assert states == {
        live: ImportState(
            name=NAME,
            arn=live,
            run_id=RUN_ID,
            alias="faq",
            serving=True,
            tags=cloud.bedrock.tags[live],
            created_at=since,
            lifetime=lifetime,
            unreadable=[TTL_TAG],
            deadline=deadline(lifetime, START, START, kept_until),
        ),
        left: ImportState(
            name=f"{PREFIX}-left-00000000",
            arn=left,
            run_id="",
            alias="",
            serving=False,
            tags={OWNER_TAG: PREFIX},
            created_at=since,
            lifetime=lifetime,
            unreadable=[],
            deadline=deadline(lifetime, since, since, None),
        ),
    }


def test_a_name_is_left_to_an_endpoint_only_if_it_stands_for_a_model(memory: MemoryStore) -> None:
    assert leave_to_endpoint(memory, "faq") == []
    alias = serve(memory, "faq", "arn:live")
    (line,) = leave_to_endpoint(memory, "faq")
    assert line == f"faq no longer refers to an imported model; the next sweep deletes {NAME}"
    assert find_alias(memory, "faq") == alias.left_to_endpoint()
    assert leave_to_endpoint(memory, "faq") == []


def test_a_forgotten_model_is_deleted_also_where_its_name_is_gone(cloud: FakeAws, memory: MemoryStore) -> None:
    forget_model(bedrock(), memory, "faq", cloud.bedrock.add_model())
    assert cloud.bedrock.models == {}
    assert find_alias(memory, "faq") == Alias(name="faq")


def test_only_for_want_of_room_is_a_model_deleted_that_is_kept(cloud: FakeAws, memory: MemoryStore) -> None:
    old = cloud.bedrock.add_model(f"{PREFIX}-old-00000000", "old-00000000")
    kept = ImportedModel(arn=old, name="old", run_id="old-00000000", since=START)
    serve(memory, "faq", cloud.bedrock.add_model(), earlier=(kept,))
    cloud.bedrock.refuse("create_model_import_job", "AccessDeniedException", "not you")
    with pytest.raises(FineTuningError, match="not you"):
        start_import(bedrock(), memory, "faq", ORDER)
    assert old in cloud.bedrock.models


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
