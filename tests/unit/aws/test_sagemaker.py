"""SageMaker's control plane: every call may be repeated, and nothing of somebody else's is touched."""

import json
from typing import Any

import pytest

from finetuning.aws.sagemaker import SageMaker, sagemaker
from finetuning.errors import Code, FineTuningError, TransientAwsError
from finetuning.jumpstart.constraints import violations
from finetuning.runs.names import Names
from tests.builders.aws import FakeAws, FakeSageMaker
from tests.builders.memory import PREFIX
from tests.builders.promotion import PACKAGE
from tests.builders.runs import RUN_ID

NAMES = Names(PREFIX, RUN_ID)
CREATED = {
    "create_training_job": "TrainingJob",
    "create_model": "Model",
    "create_endpoint_config": "EndpointConfig",
    "create_endpoint": "Endpoint",
}


@pytest.fixture
def account(cloud: FakeAws) -> FakeSageMaker:
    return cloud.sagemaker


@pytest.fixture
def api(account: FakeSageMaker) -> SageMaker:
    return sagemaker()


def request(operation: str, run_id: str = RUN_ID) -> dict[str, Any]:
    tags = [{"Key": "finetune:run-id", "Value": run_id}, {"Key": "finetune:created-by", "Value": PREFIX}]
    return {f"{CREATED[operation]}Name": NAMES.model, "Tags": tags}


@pytest.mark.parametrize("operation", CREATED)
def test_a_repeated_step_finds_what_it_created_the_first_time(
    account: FakeSageMaker, api: SageMaker, operation: str
) -> None:
    create = getattr(api, operation)
    assert create(request(operation)) == create(request(operation))
    assert len(account.names(operation.removeprefix("create_"))) == 1


@pytest.mark.parametrize("operation", CREATED)
def test_a_name_that_another_run_has_taken_is_an_error(api: SageMaker, operation: str) -> None:
    create = getattr(api, operation)
    create(request(operation, "other-00000000"))
    with pytest.raises(FineTuningError) as taken:
        create(request(operation))
    assert taken.value.code == Code.REQUEST_INVALID
    assert NAMES.model in taken.value.message


def test_a_name_in_use_that_cannot_be_described_is_an_error(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("create_model", "ValidationException", "Cannot create already existing model.")
    with pytest.raises(FineTuningError, match=NAMES.model):
        api.create_model(request("create_model"))


@pytest.mark.parametrize("operation", ["create_endpoint_config", "create_endpoint"])
def test_what_was_created_just_now_may_not_be_found_yet_and_is_tried_again(
    account: FakeSageMaker, api: SageMaker, operation: str
) -> None:
    account.refuse(operation, "ValidationException", f'Could not find model "{NAMES.model}".')
    with pytest.raises(TransientAwsError):
        getattr(api, operation)(request(operation))


def test_an_update_may_not_find_its_configuration_yet_and_is_tried_again(
    account: FakeSageMaker, api: SageMaker
) -> None:
    account.refuse("update_endpoint", "ValidationException", "Could not find endpoint configuration.")
    update = {**request("create_endpoint"), "EndpointConfigName": "new"}
    with pytest.raises(TransientAwsError):
        api.update_endpoint(update, {}, keep_instances=False)


def test_a_model_without_data_is_not_tried_again(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("create_model", "ValidationException", "Could not find model data at s3://b/m/.")
    with pytest.raises(FineTuningError) as refused:
        api.create_model(request("create_model"))
    assert not isinstance(refused.value, TransientAwsError)


@pytest.mark.parametrize("keep_instances", [True, False])
def test_an_update_is_blue_green_and_tags_the_endpoint(
    account: FakeSageMaker, api: SageMaker, keep_instances: bool
) -> None:
    account.add_endpoint(config="old", run_id="older-00000000")
    update = {**request("create_endpoint"), "EndpointConfigName": "new"}
    api.update_endpoint(update, {"BlueGreenUpdatePolicy": {}}, keep_instances)
    assert account.requests("update_endpoint") == [
        {
            "EndpointName": NAMES.endpoint,
            "EndpointConfigName": "new",
            "DeploymentConfig": {"BlueGreenUpdatePolicy": {}},
            "RetainAllVariantProperties": keep_instances,
        }
    ]
    assert account.tags_of("endpoint", NAMES.endpoint)["finetune:run-id"] == RUN_ID


def test_an_update_while_another_is_in_progress_is_refused_as_busy(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("update_endpoint", "ValidationException", "Cannot update in-progress endpoint.")
    with pytest.raises(FineTuningError) as busy:
        api.update_endpoint({**request("create_endpoint"), "EndpointConfigName": "new"}, {}, keep_instances=False)
    assert busy.value.code == Code.ENDPOINT_BUSY


@pytest.mark.parametrize(("run_id", "ours"), [(RUN_ID, True), (None, False)])
def test_only_an_endpoint_with_an_owner_of_this_project_is_ours(
    account: FakeSageMaker, api: SageMaker, run_id: str | None, ours: bool
) -> None:
    endpoint = account.add_endpoint(run_id=run_id)
    if ours:
        api.require_ours(endpoint)
        return
    with pytest.raises(FineTuningError) as taken:
        api.require_ours(endpoint)
    assert taken.value.code == Code.ENDPOINT_NAME_TAKEN


@pytest.mark.parametrize(("owner", "owned"), [(PREFIX, True), ("finetune-prod", False)])
def test_what_a_stage_made_has_its_prefix_as_owner(
    account: FakeSageMaker, api: SageMaker, owner: str, owned: bool
) -> None:
    endpoint = account.add_endpoint()
    assert api.is_owned(endpoint["EndpointArn"], owner) is owned


def test_what_is_listed_begins_with_the_prefix(account: FakeSageMaker, api: SageMaker) -> None:
    """SageMaker's `NameContains` finds it anywhere in the name."""
    for name in (NAMES.model, f"not-{NAMES.model}"):
        account.add_endpoint(name, name)
        account.add_job(name)
    prefix = f"{PREFIX}-"
    assert [each["EndpointName"] for each in api.endpoints(prefix)] == [NAMES.model]
    assert [each["EndpointConfigName"] for each in api.endpoint_configs(prefix)] == [NAMES.model]
    assert [each["ModelName"] for each in api.models(prefix)] == [NAMES.model]
    assert list(api.training_jobs(prefix, "InProgress")) == [NAMES.model]
    assert list(api.training_jobs(prefix, "Stopping")) == []


def test_lists_are_read_in_pages_of_a_hundred(account: FakeSageMaker, api: SageMaker) -> None:
    """SageMaker's own are of ten: a stage keeps a model of every run, and each sweep lists them."""
    for listed in (api.endpoints, api.endpoint_configs, api.models, api.training_jobs):
        list(listed(f"{PREFIX}-"))
    asked = [request for operation, request in account.calls if operation.startswith("list_")]
    assert [request["PaginationConfig"]["PageSize"] for request in asked] == [100] * 4


@pytest.mark.parametrize(("status", "stopped"), [("InProgress", True), ("Stopping", False), ("Completed", False)])
def test_only_a_job_in_progress_is_stopped(account: FakeSageMaker, api: SageMaker, status: str, stopped: bool) -> None:
    account.add_job(TrainingJobStatus=status)
    assert api.stop_training_job(NAMES.model) is stopped
    assert bool(account.requests("stop_training_job")) is stopped


def test_an_endpoint_is_deleted_with_its_alarms_and_all_its_configurations_and_its_models_stay(
    cloud: FakeAws, account: FakeSageMaker, api: SageMaker
) -> None:
    account.add("endpoint_config", "earlier", tags={"finetune:endpoint": NAMES.endpoint})
    account.add("endpoint_config", f"{PREFIX}-earlier", tags={"finetune:endpoint": NAMES.endpoint})
    account.add("endpoint_config", f"{PREFIX}-other", tags={"finetune:endpoint": "other"})
    account.add_endpoint()
    assert api.delete_endpoint(NAMES.endpoint)
    assert account.names("endpoint") == set()
    assert account.names("endpoint_config") == {"earlier", f"{PREFIX}-other"}  # the first has a name that is not ours
    assert account.names("model") == {NAMES.model}
    assert cloud["cloudwatch"].requests("delete_alarms")


def test_an_endpoint_stops_costing_money_before_what_else_may_fail(account: FakeSageMaker, api: SageMaker) -> None:
    account.add_endpoint()
    account.refuse("delete_endpoint_config", "AccessDeniedException")
    with pytest.raises(FineTuningError):
        api.delete_endpoint(NAMES.endpoint)
    assert account.names("endpoint") == set()


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(account: FakeSageMaker, api: SageMaker) -> None:
    assert api.describe_training_job("nothing") is None
    assert api.describe_endpoint("nothing") is None
    assert api.configuration("nothing") is None
    assert api.stop_training_job("nothing") is False
    assert api.delete_endpoint("nothing") is False
    api.delete_model("nothing")
    api.delete_endpoint_config("nothing")
    api.tag_endpoint("nothing", {"key": "value"})
    assert not account.requests("add_tags")


def test_what_is_gone_has_no_tags(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("list_tags", "ValidationException", "Could not find resource arn:…")
    assert api.tags("arn:gone") == {}


def test_tags_that_may_not_be_read_are_an_error_and_not_empty(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("list_tags", "AccessDeniedException")
    with pytest.raises(FineTuningError):
        api.tags("arn")


def chain(account: FakeSageMaker, length: int) -> list[str]:
    """Configurations of the endpoint that replaced one another, the oldest first."""
    names = [f"{PREFIX}-config{number}" for number in range(length)]
    for number, name in enumerate(names):
        tags = {"finetune:endpoint": NAMES.endpoint} | ({"finetune:replaces": names[number - 1]} if number else {})
        account.add("endpoint_config", name, tags=tags)
        account.add("model", name)
    return names


def test_an_old_configurations_models_for_its_pools_go_with_it(account: FakeSageMaker, api: SageMaker) -> None:
    names = chain(account, 4)
    pools = [{"InstanceType": "ml.g5.4xlarge"}, {"InstanceType": "ml.p4d.24xlarge", "ModelNameOverride": "on-p4d"}]
    account.things["endpoint_config"][names[0]]["ProductionVariants"] = [{"InstancePools": pools}]
    account.add("model", "on-p4d")
    api.prune_configurations(PREFIX, NAMES.endpoint, names[-1])
    assert account.names("model") == set(names[1:])


@pytest.mark.parametrize(("length", "kept"), [(1, 1), (3, 3), (4, 3), (9, 3)])
def test_the_newest_three_configurations_are_kept_with_their_models(
    account: FakeSageMaker, api: SageMaker, length: int, kept: int
) -> None:
    names = chain(account, length)
    api.prune_configurations(PREFIX, NAMES.endpoint, names[-1])
    assert account.names("endpoint_config") == account.names("model") == set(names[-kept:])


def test_configurations_that_replaced_each_other_end(account: FakeSageMaker, api: SageMaker) -> None:
    """A rollback and the deployment after it make a circle."""
    first, second = chain(account, 2)
    account.tags_of("endpoint_config", first)["finetune:replaces"] = second
    api.prune_configurations(PREFIX, NAMES.endpoint, second)
    assert account.names("endpoint_config") == {first, second}


def test_a_version_is_registered_in_a_group_that_may_be_there(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("create_model_package_group", "ValidationException", "Model Package Group already exists.")
    account.answers["create_model_package"] = {"ModelPackageArn": "arn:1"}
    version = {"ClientToken": "token"}  # pragma: allowlist secret
    assert api.register_model({"ModelPackageGroupName": "group"}, version) == "arn:1"


def test_a_group_that_may_not_be_created_is_an_error(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("create_model_package_group", "AccessDeniedException")
    with pytest.raises(FineTuningError, match="group"):
        api.register_model({"ModelPackageGroupName": "group"}, {})
    assert not account.requests("create_model_package")


def test_a_group_gets_its_policy_as_a_document(account: FakeSageMaker, api: SageMaker) -> None:
    api.share_group("finetune-dev-faq", {"Version": "2012-10-17", "Statement": []})
    (sent,) = account.requests("put_model_package_group_policy")
    assert sent["ModelPackageGroupName"] == "finetune-dev-faq"
    assert json.loads(sent["ResourcePolicy"]) == {"Version": "2012-10-17", "Statement": []}
    shape = account.meta.service_model.operation_model("PutModelPackageGroupPolicy").input_shape
    assert list(violations(shape, sent)) == []


def test_a_version_of_another_account_that_may_not_be_read_is_an_error(account: FakeSageMaker, api: SageMaker) -> None:
    account.refuse("describe_model_package", "AccessDeniedException", "not authorized")
    with pytest.raises(FineTuningError) as refused:
        api.describe_model_package(PACKAGE)
    assert (refused.value.code, PACKAGE in refused.value.message) == (Code.ACCESS_DENIED, True)
