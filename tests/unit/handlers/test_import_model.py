"""ImportModel: what is imported, when, and what makes room for it."""

from datetime import UTC, datetime, timedelta

import pytest

from finetuning.aws.bedrock import bedrock
from finetuning.errors import FineTuningError
from finetuning.handlers import import_model
from finetuning.operations.import_life import import_states
from finetuning.operations.imports import find_alias
from finetuning.operations.run import Run
from finetuning.runs.aliases import Alias, ImportedModel
from finetuning.runs.expiry import Lifetime
from finetuning.runs.layout import alias_key
from finetuning.runs.names import Names
from finetuning.runs.tags import TTL_TAG
from finetuning.settings import NEVER
from tests.builders.aws import FakeAws, client_error, ends, hours_ago
from tests.builders.handlers import invoke
from tests.builders.imports import TUNED, imported_run
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, START, any_plan

NAMES = Names(PREFIX, RUN_ID)


@pytest.fixture
def run(memory: MemoryStore) -> Run:
    return imported_run(memory)


def test_the_tuned_model_is_imported_with_the_stage_s_role_key_and_tags(cloud: FakeAws, run: Run) -> None:
    answer = invoke(import_model, run_id=RUN_ID, variant="live")
    (request,) = cloud.bedrock.requests("create_model_import_job")
    assert request["jobName"] == request["importedModelName"] == request["clientRequestToken"] == NAMES.imported_model
    assert request["modelDataSource"]["s3DataSource"]["s3Uri"] == TUNED.rstrip("/")
    assert request["roleArn"] == "arn:aws:iam::123456789012:role/imports"
    tags = {tag["key"]: tag["value"] for tag in request["importedModelTags"]}
    assert tags["finetune:run-id"] == RUN_ID
    assert tags["finetune:created-by"] == PREFIX
    assert (answer["outcome"], answer["wait_seconds"]) == ("go", 2)
    assert run.status.deployment_began  # the base model, which waits for it, can come up now
    assert run.status.events[-1].message == f"Importing {NAMES.imported_model} into Bedrock"


def test_a_repeated_step_starts_no_second_import(cloud: FakeAws, run: Run) -> None:
    for _ in range(2):
        invoke(import_model, run_id=RUN_ID, variant="candidate")
    assert len(cloud.bedrock.jobs) == 1
    cloud.bedrock.end(NAMES.imported_model)
    assert invoke(import_model, run_id=RUN_ID, variant="live")["outcome"] == "go"
    assert len(cloud.bedrock.jobs) == 1
    assert not cloud.bedrock.requests("tag_resource")


def test_a_model_that_is_deployed_again_gets_the_lifetime_of_this_deployment(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    """Its tags are of the import: eight hours, as after a run that failed, which are over."""
    cloud.bedrock.add_model(NAMES.imported_model, hours_old=30, tags={TTL_TAG: "8"})
    began = datetime.now(UTC)
    imported_run(memory, ttl_hours=24).record("Deploying the model of this run again", redeployed_at=began)
    assert invoke(import_model, run_id=RUN_ID, variant="live")["outcome"] == "go"
    (state,) = import_states(bedrock(), memory, PREFIX, Lifetime(8, NEVER))
    assert len(cloud.bedrock.requests("tag_resource")) == 1
    assert state.deadline
    assert timedelta(hours=24) <= state.deadline.at - began + timedelta(seconds=1) < timedelta(hours=24, minutes=1)
    assert not cloud.bedrock.jobs


@pytest.mark.parametrize(("earlier", "following"), [(1, f"{NAMES.imported_model}-1"), (3, f"{NAMES.imported_model}-3")])
def test_an_import_after_one_that_ended_has_a_job_of_its_own(
    cloud: FakeAws, run: Run, earlier: int, following: str
) -> None:
    for number in range(earlier):
        cloud.bedrock.add_job(NAMES.import_job(number), hours_old=9 - number, status="Failed")
    invoke(import_model, run_id=RUN_ID, variant="live")
    (request,) = cloud.bedrock.requests("create_model_import_job")
    assert (request["jobName"], request["importedModelName"]) == (following, NAMES.imported_model)


def test_a_model_of_that_name_that_another_run_imported_is_not_taken(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_model(NAMES.imported_model, run_id=None)
    with pytest.raises(FineTuningError, match="this run did not import it"):
        invoke(import_model, run_id=RUN_ID, variant="live")


def kept(name: str, arn: str, hours: float = 0) -> ImportedModel:
    return ImportedModel(arn=arn, name=name, run_id=name, since=START - timedelta(hours=hours))


def test_models_kept_for_a_rollback_make_room_those_of_the_same_name_first(
    cloud: FakeAws, memory: MemoryStore, run: Run
) -> None:
    arns = {name: cloud.bedrock.add_model(name) for name in ("faq-now", "faq-before", "own-now", "own-a", "own-b")}
    own = Alias(
        name=NAMES.endpoint,
        serving=kept("own-now", arns["own-now"]),
        earlier=[kept("own-a", arns["own-a"], 1), kept("own-b", arns["own-b"], 2)],
    )
    memory.save(alias_key(own.name), own)
    faq = Alias(
        name="a-faq", serving=kept("faq-now", arns["faq-now"]), earlier=[kept("faq-before", arns["faq-before"], 3)]
    )
    memory.save(alias_key(faq.name), faq)
    refused = client_error("ServiceQuotaExceededException", "3 imported models")
    answers = iter([refused, refused, None])

    def create(**request: object) -> object:
        if error := next(answers):
            raise error
        del cloud.bedrock.answers["create_model_import_job"]
        return cloud.bedrock.create_model_import_job(**request)

    cloud.bedrock.answers["create_model_import_job"] = create
    invoke(import_model, run_id=RUN_ID, variant="live")
    assert cloud.bedrock.names() == ["faq-before", "faq-now", "own-now"]
    found = find_alias(memory, NAMES.endpoint)
    assert found
    assert [model.name for model in found.models] == ["own-now"]
    said = [event.message for event in run.status.events]
    assert f"Deleted the imported model own-b, which {NAMES.endpoint} kept for a rollback" in said


def test_an_import_waits_for_another_one_of_the_account_and_deletes_no_model_for_it(
    cloud: FakeAws, memory: MemoryStore, run: Run
) -> None:
    """An account imports one model at a time, and Bedrock's error is that of a full account."""
    arns = {name: cloud.bedrock.add_model(name) for name in ("faq-now", "faq-before")}
    faq = Alias(name="faq", serving=kept("faq-now", arns["faq-now"]), earlier=[kept("faq-before", arns["faq-before"])])
    memory.save(alias_key(faq.name), faq)
    cloud.bedrock.add_job("theirs")
    waiting = invoke(import_model, run_id=RUN_ID, variant="live")
    assert (waiting["outcome"], waiting["message"]) == (
        "waiting",
        "Waiting for the import of theirs: the account imports no second model at the same time",
    )
    assert cloud.bedrock.names() == ["faq-before", "faq-now"]
    cloud.bedrock.end("theirs", "Failed")
    assert invoke(import_model, run_id=RUN_ID, variant="live")["outcome"] == "go"
    assert run.status.endpoint_wait_began is None


def test_an_import_does_not_wait_for_others_without_end(cloud: FakeAws, run: Run) -> None:
    cloud.bedrock.add_job("theirs")
    run.record("", endpoint_wait_began=hours_ago(6.1))
    with pytest.raises(FineTuningError, match="theirs") as late:
        invoke(import_model, run_id=RUN_ID, variant="live")
    assert late.value.code == "IMPORT_OUT_OF_TIME"
    assert "finetune deploy RUN" in late.value.fix


def test_without_anything_to_delete_a_full_account_is_the_error(cloud: FakeAws, memory: MemoryStore, run: Run) -> None:
    arn = cloud.bedrock.add_model("faq-now")
    memory.save(alias_key("faq"), Alias(name="faq", serving=kept("faq-now", arn)))
    cloud.bedrock.refuse("create_model_import_job", "ServiceQuotaExceededException", "3 imported models")
    with pytest.raises(FineTuningError, match="Quota exceeded: cannot import the model") as refused:
        invoke(import_model, run_id=RUN_ID, variant="live")
    assert refused.value.code == "QUOTA_EXCEEDED"
    assert "finetune clean-up RUN" in refused.value.fix
    assert cloud.bedrock.names() == ["faq-now"]


def test_a_live_import_waits_for_its_turn_with_the_name_and_a_candidate_does_not(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    endpoint = any_plan().endpoint.model_dump() | {"name": "faq", "target": "bedrock"}
    first = any_run(memory, "first-00000000", endpoint=endpoint)
    turn = f"{datetime.now(UTC) - timedelta(minutes=5):%Y%m%dT%H%M%S.%f}_first-00000000"
    first.record("", endpoint_turn=turn)
    memory.write(f"turns/{PREFIX}-faq/{turn}/turn.json", b"{}")
    imported_run(memory, name="faq")
    waiting = invoke(import_model, run_id=RUN_ID, variant="live")
    assert (waiting["outcome"], cloud.bedrock.jobs) == ("waiting", {})
    assert "first-00000000, which deploys to" in waiting["message"]
    assert invoke(import_model, run_id=RUN_ID, variant="candidate")["outcome"] == "go"


def test_a_run_that_has_ended_imports_nothing(cloud: FakeAws, run: Run) -> None:
    run.record("", execution_arn="arn:aws:states:us-east-1:123456789012:execution:m:first")
    cloud["stepfunctions"].answers["describe_execution"] = ends(0)
    with pytest.raises(FineTuningError, match="ended while this step was working"):
        invoke(import_model, run_id=RUN_ID, variant="live")
    assert cloud.bedrock.jobs == {}
