"""What is removed of a run, and what must stay."""

from datetime import timedelta

import pytest

from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.errors import FineTuningError
from finetuning.operations.clean_up import (
    expire_failed,
    remove_temporary_endpoint,
    remove_unfinished,
    remove_unused_models,
    take_back_endpoint,
)
from finetuning.runs.names import Names, hosting_suffix
from tests.builders.aws import FakeAws, FakeSageMaker, hours_ago
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID

NAMES = Names(PREFIX, RUN_ID, "faq")
OTHER = f"{PREFIX}-other-00000000"


@pytest.fixture
def account(cloud: FakeAws) -> FakeSageMaker:
    return cloud.sagemaker


@pytest.fixture
def api(account: FakeSageMaker) -> SageMaker:
    return sagemaker()


@pytest.mark.parametrize(
    ("status", "removed"),
    [
        ("Creating", True),
        ("Failed", True),
        ("InService", False),
        ("Updating", False),
        ("SystemUpdating", False),
        ("RollingBack", False),
    ],
)
def test_only_an_endpoint_that_never_served_is_removed(
    account: FakeSageMaker, api: SageMaker, status: str, removed: bool
) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status=status)
    assert remove_unfinished(api, NAMES) == ([f"Deleted the endpoint {NAMES.endpoint}"] if removed else [])


def test_the_job_of_a_run_whose_upload_is_named_like_this_run_goes_on(account: FakeSageMaker, api: SageMaker) -> None:
    """The folder runs/<id of this run>/ is a legal upload; its training may have cost hundreds of USD."""
    other = Names(PREFIX, f"{RUN_ID}-12345678")
    for name, run_id in ((NAMES.training_job(2), RUN_ID), (other.training_job(0), other.run_id)):
        account.add_job(name, run_id)
    assert remove_unfinished(api, NAMES) == [f"Stopped the training job {NAMES.training_job(2)}"]
    assert account.things["training_job"][other.training_job(0)]["TrainingJobStatus"] == "InProgress"


@pytest.mark.parametrize("status", ["Creating", "Failed"])
def test_an_endpoint_of_that_name_that_another_run_makes_stays(
    account: FakeSageMaker, api: SageMaker, status: str
) -> None:
    account.add_endpoint(NAMES.endpoint, OTHER, "other-00000000", status=status)
    assert remove_unfinished(api, NAMES) == []
    assert account.names("endpoint") == {NAMES.endpoint}


def test_jobs_of_every_attempt_are_stopped_and_no_other(account: FakeSageMaker, api: SageMaker) -> None:
    ours = [NAMES.training_job(attempt) for attempt in (0, 1, 12)]
    for name in (*ours, OTHER):
        account.add_job(name)
    assert remove_unfinished(api, NAMES) == [f"Stopped the training job {name}" for name in ours]
    assert [request["TrainingJobName"] for request in account.requests("stop_training_job")] == ours


def test_removing_may_be_repeated(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_job(NAMES.training_job(0))
    account.add_endpoint(NAMES.base, NAMES.base)
    assert len(remove_unfinished(api, NAMES)) == 2
    assert remove_unfinished(api, NAMES) == []


def test_the_tuned_model_stays(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status="Failed")
    account.add_endpoint(NAMES.base, NAMES.base)
    remove_unfinished(api, NAMES)
    assert account.names("model") == {NAMES.model}


def test_an_endpoint_that_cannot_be_deleted_yet_is_left_to_the_sweeper(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status="Creating")
    account.refuse("delete_endpoint", "ValidationException", "Cannot delete while Creating.")
    (line,) = remove_unfinished(api, NAMES)
    assert NAMES.endpoint in line
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "0"


def test_an_endpoint_that_may_not_be_deleted_is_an_error(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status="Creating")
    account.refuse("delete_endpoint", "AccessDeniedException")
    with pytest.raises(FineTuningError):
        remove_unfinished(api, NAMES)


@pytest.mark.parametrize(("ttl", "then"), [("never", "8"), ("2", "2")])
def test_an_endpoint_whose_run_failed_does_not_stay_for_ever(
    account: FakeSageMaker, api: SageMaker, ttl: str, then: str
) -> None:
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, tags={"finetune:ttl-hours": ttl})
    (line,) = expire_failed(api, NAMES, hours_ago(2))
    assert NAMES.endpoint in line
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == then


def test_an_endpoint_that_served_before_stays_and_the_way_back_is_said(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint(
        NAMES.endpoint,
        NAMES.endpoint_config,
        tags={"finetune:ttl-hours": "never"},
        config_tags={"finetune:replaces": OTHER},
    )
    (line,) = expire_failed(api, NAMES, hours_ago(2))
    assert f"finetune rollback {NAMES.endpoint} --stage dev" in line
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "never"


@pytest.mark.parametrize(
    ("created", "changed", "config_tags"),
    [(500, 499, {}), (500, 499, {"finetune:replaces": OTHER}), (500, 1, {})],
)
def test_an_endpoint_that_served_the_model_before_it_was_to_be_deployed_again_stays_as_it_is(
    account: FakeSageMaker, api: SageMaker, created: float, changed: float, config_tags: dict[str, str]
) -> None:
    live = account.add_endpoint(
        NAMES.endpoint, NAMES.endpoint_config, tags={"finetune:ttl-hours": "never"}, config_tags=config_tags
    )
    live |= {"CreationTime": hours_ago(created), "LastModifiedTime": hours_ago(changed)}
    assert expire_failed(api, NAMES, hours_ago(2)) == []
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "never"


@pytest.mark.parametrize(("config", "status"), [(OTHER, "InService"), (NAMES.endpoint_config, "Creating")])
def test_an_endpoint_that_does_not_serve_the_failed_runs_model_is_not_its_concern(
    account: FakeSageMaker, api: SageMaker, config: str, status: str
) -> None:
    account.add_endpoint(NAMES.endpoint, config, status=status, tags={"finetune:ttl-hours": "never"})
    assert expire_failed(api, NAMES, hours_ago(2)) == []
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:ttl-hours"] == "never"


BEGAN = hours_ago(1)


@pytest.mark.parametrize(("minutes", "removed"), [(0, True), (1, True), (-1, False)])
def test_an_endpoint_that_an_aborted_execution_created_is_removed_and_an_older_one_stays(
    account: FakeSageMaker, api: SageMaker, minutes: int, removed: bool
) -> None:
    live = account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config)
    live["CreationTime"] = BEGAN + timedelta(minutes=minutes)
    assert take_back_endpoint(api, NAMES, BEGAN) == ([f"Deleted the endpoint {NAMES.endpoint}"] if removed else [])
    assert account.names("endpoint") == (set() if removed else {NAMES.endpoint})


@pytest.mark.parametrize(
    ("config", "status"), [(OTHER, "InService"), (OTHER, "Deleting"), (NAMES.endpoint_config, "Deleting")]
)
def test_an_aborted_execution_takes_back_neither_the_endpoint_of_another_run_nor_one_that_goes_already(
    account: FakeSageMaker, api: SageMaker, config: str, status: str
) -> None:
    account.add_endpoint(NAMES.endpoint, config, status=status, config_tags={"finetune:replaces": "older"})
    for hours in (0, 2):
        account.endpoint(NAMES.endpoint)["CreationTime"] = hours_ago(hours)
        assert take_back_endpoint(api, NAMES, BEGAN) == []
    assert account.requests("delete_endpoint") == []


def test_an_earlier_model_that_an_aborted_execution_replaced_is_a_rollback_away(
    account: FakeSageMaker, api: SageMaker
) -> None:
    live = account.add_endpoint(
        NAMES.endpoint, NAMES.endpoint_config, hours_old=2, config_tags={"finetune:replaces": OTHER}
    )
    assert take_back_endpoint(api, NAMES, BEGAN) == [], "it served this model before it was to be deployed again"
    live["LastModifiedTime"] = hours_ago(0)
    assert take_back_endpoint(api, NAMES, BEGAN) == [
        f"The endpoint {NAMES.endpoint} serves this run's model although the run has ended: "
        f"`finetune rollback {NAMES.endpoint} --stage dev` restores the earlier model"
    ]
    del account.things["endpoint_config"][NAMES.endpoint_config]
    assert take_back_endpoint(api, NAMES, BEGAN) == []


def test_models_and_configurations_of_a_run_without_files_are_removed(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    any_run(memory)
    for kind in ("endpoint_config", "model"):
        for name in (NAMES.model, OTHER, f"{OTHER}-base", f"{OTHER}-candidate"):
            account.add(kind, name)
    assert len(remove_unused_models(api, memory)) == 6
    assert account.names("endpoint_config") == account.names("model") == {NAMES.model}


def test_a_configuration_in_service_stays_with_its_model_whatever_became_of_its_run(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add_endpoint(NAMES.endpoint, OTHER)
    assert remove_unused_models(api, memory) == []
    assert account.names("endpoint_config") == account.names("model") == {OTHER}


@pytest.mark.parametrize("config", [OTHER, f"{OTHER}-candidate"])
def test_every_model_of_a_configuration_in_service_stays(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore, config: str
) -> None:
    """A pool of another instance type, and a candidate, have a model of another name than the configuration's."""
    account.add_endpoint(NAMES.endpoint, config)
    models = {OTHER, OTHER + hosting_suffix("ml.g5.48xlarge")}
    for model in models - account.names("model"):
        account.add("model", model, "other-00000000")
    assert remove_unused_models(api, memory) == []
    assert account.names("model") >= models


def test_models_that_this_stage_did_not_make_stay(account: FakeSageMaker, api: SageMaker, memory: MemoryStore) -> None:
    account.add("model", OTHER, None)
    account.add("model", f"{PREFIX}-prods", None, tags={"finetune:created-by": "finetune-prod"})
    assert remove_unused_models(api, memory) == []


def test_a_job_that_has_ended_is_not_stopped(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_job(NAMES.training_job(0), TrainingJobStatus="Completed")
    account.add_job(NAMES.training_job(1))
    assert remove_unfinished(api, NAMES) == [f"Stopped the training job {NAMES.training_job(1)}"]


def test_every_removal_of_an_unfinished_run_is_reported(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_job(NAMES.training_job(0))
    account.add_endpoint(NAMES.candidate, NAMES.candidate)
    account.add_endpoint(NAMES.base, NAMES.base)
    account.add_endpoint(NAMES.endpoint, NAMES.endpoint_config, status="Failed")
    assert remove_unfinished(api, NAMES) == [
        f"Stopped the training job {NAMES.training_job(0)}",
        f"Deleted the endpoint {NAMES.candidate}",
        f"Deleted the endpoint {NAMES.base}",
        f"Deleted the endpoint {NAMES.endpoint}",
    ]


def test_a_temporary_endpoint_leaves_no_configuration_but_one_that_stays_keeps_its_own(
    account: FakeSageMaker, api: SageMaker
) -> None:
    account.add_endpoint(NAMES.candidate, NAMES.candidate)
    remove_temporary_endpoint(api, NAMES, "candidate")
    assert account.names("endpoint_config") == set()
    account.add_endpoint(NAMES.base, NAMES.base, status="Creating")
    account.refuse("delete_endpoint", "ValidationException", "Cannot delete while Creating.")
    remove_temporary_endpoint(api, NAMES, "base")
    assert account.names("endpoint_config") == {NAMES.base}


def test_what_is_left_of_a_run_without_files_is_reported_by_kind_and_name(
    account: FakeSageMaker, api: SageMaker, memory: MemoryStore
) -> None:
    account.add("endpoint_config", OTHER)
    account.add("model", OTHER)
    assert remove_unused_models(api, memory) == [f"Deleted the configuration {OTHER}", f"Deleted the model {OTHER}"]


def test_a_configuration_whose_temporary_endpoint_is_gone_is_deleted(account: FakeSageMaker, api: SageMaker) -> None:
    account.add("endpoint_config", NAMES.candidate)
    account.add("endpoint_config", NAMES.base)
    assert [remove_temporary_endpoint(api, NAMES, variant) for variant in ("candidate", "base")] == [[], []]
    assert account.names("endpoint_config") == set()
