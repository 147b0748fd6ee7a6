"""DeleteTemporaryEndpoints: base and candidate go, the live endpoint stays."""

from finetuning.handlers import delete_temporary_endpoints
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import MemoryStore, any_run
from tests.builders.runs import RUN_ID


def test_base_and_candidate_are_deleted_with_their_configurations_and_the_base_model(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = any_run(memory)
    names, sagemaker = run.names, cloud.sagemaker
    for name in (names.endpoint, names.base, names.candidate):
        sagemaker.add_endpoint(name, name)
    invoke(delete_temporary_endpoints, run_id=RUN_ID)
    assert sagemaker.names("endpoint") == {names.endpoint}
    assert sagemaker.names("endpoint_config") == {names.endpoint_config}
    assert names.model in sagemaker.names("model")
    assert names.base not in sagemaker.names("model")
    assert {event.message for event in run.status.events} == {
        f"Deleted the endpoint {names.base}",
        f"Deleted the endpoint {names.candidate}",
    }


def test_without_temporary_endpoints_there_is_nothing_to_do(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    run.record("Compared")
    assert invoke(delete_temporary_endpoints, run_id=RUN_ID)["message"] == "Compared"


def test_an_endpoint_that_cannot_be_deleted_yet_is_left_to_the_sweeper(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    sagemaker = cloud.sagemaker
    sagemaker.add_endpoint(run.names.base, run.names.base, status="Creating")
    sagemaker.refuse("delete_endpoint", "ValidationException", "Cannot delete an endpoint in status Creating.")
    invoke(delete_temporary_endpoints, run_id=RUN_ID)
    assert sagemaker.tags_of("endpoint", run.names.base)["finetune:ttl-hours"] == "0"
    assert run.names.base in sagemaker.names("endpoint_config")
