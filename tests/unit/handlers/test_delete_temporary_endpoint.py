"""DeleteTemporaryEndpoint: base or candidate goes, everything else stays."""

import pytest

from finetuning.handlers import delete_temporary_endpoint
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID

LIVE, BASE, CANDIDATE = (f"{PREFIX}-{RUN_ID}{suffix}" for suffix in ("", "-base", "-candidate"))


@pytest.mark.parametrize(
    ("variant", "name", "models"),
    [("base", BASE, {LIVE, CANDIDATE}), ("candidate", CANDIDATE, {LIVE, BASE, CANDIDATE})],
)
def test_the_endpoint_is_deleted_with_its_configuration_and_the_base_model_with_its_own(
    cloud: FakeAws, memory: MemoryStore, variant: str, name: str, models: set[str]
) -> None:
    run = any_run(memory)
    for each in (LIVE, BASE, CANDIDATE):
        cloud.sagemaker.add_endpoint(each, each)
    invoke(delete_temporary_endpoint, run_id=RUN_ID, variant=variant, failure=None)
    assert cloud.sagemaker.names("endpoint") == {LIVE, BASE, CANDIDATE} - {name}
    assert cloud.sagemaker.names("endpoint_config") == {LIVE, BASE, CANDIDATE} - {name}
    assert cloud.sagemaker.names("model") == models
    assert [event.message for event in run.status.events] == [f"Deleted the endpoint {name}"]


def test_without_the_endpoint_there_is_nothing_to_do(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    run.record("Compared")
    assert invoke(delete_temporary_endpoint, run_id=RUN_ID, variant="base")["message"] == "Compared"


def test_why_the_base_model_cannot_be_asked_is_said(cloud: FakeAws, memory: MemoryStore) -> None:
    run = any_run(memory)
    cause = '{"errorMessage": "{\\"code\\": \\"C\\", \\"message\\": \\"No GPUs.\\", \\"fix\\": \\"\\"}"}'
    invoke(
        delete_temporary_endpoint, run_id=RUN_ID, variant="base", failure={"Error": "EndpointFailed", "Cause": cause}
    )
    assert [event.message for event in run.status.events] == ["The base model cannot be compared with: No GPUs."]


def test_an_endpoint_that_cannot_be_deleted_yet_is_left_to_the_sweeper(cloud: FakeAws, memory: MemoryStore) -> None:
    any_run(memory)
    cloud.sagemaker.add_endpoint(BASE, BASE, status="Creating")
    cloud.sagemaker.refuse("delete_endpoint", "ValidationException", "Cannot delete an endpoint in status Creating.")
    invoke(delete_temporary_endpoint, run_id=RUN_ID, variant="base")
    assert cloud.sagemaker.tags_of("endpoint", BASE)["finetune:ttl-hours"] == "0"
    assert BASE in cloud.sagemaker.names("endpoint_config")
