"""DeployEndpoint: which of the run's endpoints is created or updated, and what is left as it was."""

from typing import Any

import pytest

from finetuning.errors import Code, FineTuningError
from finetuning.handlers import deploy_endpoint
from finetuning.operations.run import Run
from finetuning.runs.endpoint_plan import Autoscaling, HostingOption
from finetuning.runs.names import Names, hosting_suffix
from finetuning.runs.status import RunState, RunStatus
from finetuning.runs.tags import TTL_TAG
from finetuning.settings import settings
from tests.builders.aws import FakeAws, ends, hours_ago
from tests.builders.handlers import invoke
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import RUN_ID, any_plan, any_status

LIVE, MODEL, BASE, CANDIDATE = (f"{PREFIX}-{name}" for name in ("faq", RUN_ID, f"{RUN_ID}-base", f"{RUN_ID}-candidate"))
OLD = f"{PREFIX}-older-00000000"
SCALED = Autoscaling(min_instances=1, max_instances=4, invocations_per_instance=60)


@pytest.fixture
def status(cloud: FakeAws, memory: MemoryStore) -> RunStatus:
    return deployable(memory).status


def deployable(memory: MemoryStore, **endpoint: Any) -> Run:
    """A run that has trained its model and is to serve it on the endpoint `faq`."""
    run = any_run(memory, endpoint=any_plan().endpoint.model_dump() | {"name": "faq", **endpoint})
    began = any_status(state=RunState.RUNNING, endpoint="", deployment_began=hours_ago(0))
    memory.save(run.layout.status, began)
    return run


def test_the_live_endpoint_is_created_under_the_users_name_with_the_runs_model(
    cloud: FakeAws, memory: MemoryStore, status: RunStatus
) -> None:
    result = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.names("endpoint") == {LIVE}
    assert cloud.sagemaker.endpoint(LIVE)["EndpointConfigName"] == MODEL
    (model,) = cloud.sagemaker.requests("create_model")
    assert f"/{status.training_job}/output/model/" in str(model)
    assert result["wait_seconds"] == 2
    assert "Live endpoint" in result["links"]
    assert memory.load(f"runs/{RUN_ID}/status.json", RunStatus).endpoint == LIVE


def test_types_of_the_pools_that_need_another_container_have_models_of_their_own(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    types = {"ml.p4d.24xlarge": "a", "ml.g5.48xlarge": "b", "ml.g6.48xlarge": "a"}
    pools = [HostingOption(instance_type=each, usd_per_hour=1, container_key=key) for each, key in types.items()]
    deployable(memory, pools=[each.model_dump() for each in pools])
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    other = MODEL + hosting_suffix("ml.g5.48xlarge")
    assert cloud.sagemaker.names("model") == {MODEL, other}
    (config,) = cloud.sagemaker.requests("create_endpoint_config")
    (variant,) = config["ProductionVariants"]
    assert [pool.get("ModelNameOverride") for pool in variant["InstancePools"]] == [None, other, None]


def test_the_base_model_waits_until_the_tuned_one_may_be_deployed(cloud: FakeAws, memory: MemoryStore) -> None:
    """Its own endpoint would cost money while the tuned model waits, which may take hours."""
    run = deployable(memory)
    run.record("", deployment_began=None, endpoint_wait_began=hours_ago(1))
    waiting = invoke(deploy_endpoint, run_id=RUN_ID, variant="base")
    assert (waiting["outcome"], waiting["wait_seconds"]) == ("waiting", 361)
    assert not cloud.sagemaker.names("endpoint")
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "go"
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="base")["outcome"] == "go"
    assert cloud.sagemaker.names("endpoint") == {LIVE, BASE}


def test_a_base_model_that_failed_for_lack_of_capacity_is_replaced_on_the_present_type(
    cloud: FakeAws, memory: MemoryStore, status: RunStatus
) -> None:
    cloud.sagemaker.add_endpoint(BASE, BASE, status="Failed")
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="base")["outcome"] == "waiting"
    assert BASE not in cloud.sagemaker.names("model")
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="base")["outcome"] == "go"
    assert cloud.sagemaker.endpoint(BASE)["EndpointStatus"] == "Creating"


def test_the_alarms_are_set_before_the_endpoint_serves(cloud: FakeAws, status: RunStatus) -> None:
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    watched = {request["AlarmName"] for request in cloud["cloudwatch"].requests("put_metric_alarm")}
    assert watched
    assert all(name.startswith(LIVE) for name in watched)


@pytest.mark.parametrize(("variant", "name", "model"), [("candidate", CANDIDATE, MODEL), ("base", BASE, BASE)])
def test_a_temporary_endpoint_has_a_name_of_its_own_and_the_live_one_is_not_touched(
    cloud: FakeAws, memory: MemoryStore, status: RunStatus, variant: str, name: str, model: str
) -> None:
    live = dict(cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000"))
    invoke(deploy_endpoint, run_id=RUN_ID, variant=variant)
    assert cloud.sagemaker.names("endpoint") == {LIVE, name}
    assert cloud.sagemaker.endpoint(LIVE) == live
    assert not cloud.sagemaker.requests("update_endpoint")
    (config,) = cloud.sagemaker.requests("create_endpoint_config")
    assert config["ProductionVariants"][0]["ModelName"] == model
    assert memory.load(f"runs/{RUN_ID}/status.json", RunStatus).endpoint == ""


@pytest.mark.parametrize("variant", ["live", "candidate", "base"])
def test_a_repeated_step_creates_nothing_twice(cloud: FakeAws, status: RunStatus, variant: str) -> None:
    first = invoke(deploy_endpoint, run_id=RUN_ID, variant=variant)
    made = {kind: cloud.sagemaker.names(kind) for kind in ("model", "endpoint_config", "endpoint")}
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant=variant) == first
    assert {kind: cloud.sagemaker.names(kind) for kind in made} == made
    assert not cloud.sagemaker.requests("update_endpoint")


def test_an_earlier_run_s_endpoint_is_updated_and_its_configuration_is_remembered(
    cloud: FakeAws, status: RunStatus
) -> None:
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000")
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    (update,) = cloud.sagemaker.requests("update_endpoint")
    assert update["EndpointConfigName"] == MODEL
    assert cloud.sagemaker.tags_of("endpoint_config", MODEL)["finetune:replaces"] == OLD
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:run-id"] == RUN_ID


def test_an_endpoint_that_somebody_else_made_is_refused(cloud: FakeAws, status: RunStatus) -> None:
    cloud.sagemaker.add_endpoint(LIVE, "theirs", None)
    with pytest.raises(FineTuningError) as refused:
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert refused.value.code == Code.ENDPOINT_NAME_TAKEN
    assert not cloud.sagemaker.requests("update_endpoint")


def test_an_endpoint_that_another_upload_made_meanwhile_is_refused_where_only_its_owner_may_replace_it(
    cloud: FakeAws, status: RunStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDPOINT_REPLACEMENT", "owner")
    settings.cache_clear()
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000")
    with pytest.raises(FineTuningError) as refused:
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert refused.value.code == Code.ENDPOINT_NOT_OWNED
    assert not cloud.sagemaker.requests("update_endpoint")


def test_a_new_endpoint_has_its_owner_and_a_replaced_one_keeps_the_first(cloud: FakeAws, memory: MemoryStore) -> None:
    deployable(memory, owners=["pirate", "faq"])
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:owners"] == "pirate faq"
    cloud.sagemaker.things["endpoint"].clear()
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000")
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:owners"] == "older"
    assert cloud.sagemaker.tags_of("endpoint_config", MODEL)["finetune:owners"] == "older"


def test_the_endpoint_has_the_limits_of_this_deployment_where_its_configuration_was_kept(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    deployable(memory, ttl_hours=3)
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000")
    cloud.sagemaker.add("endpoint_config", MODEL, tags={"finetune:ttl-hours": "8"})
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.tags_of("endpoint_config", MODEL)["finetune:ttl-hours"] == "3"
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:ttl-hours"] == "3"


@pytest.mark.parametrize(("instances", "kept"), [(3, True), (1, False)])
def test_a_fleet_that_grew_with_its_traffic_keeps_its_instances(
    cloud: FakeAws, memory: MemoryStore, instances: int, kept: bool
) -> None:
    deployable(memory, autoscaling=SCALED)
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000", instances=instances)
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert [request["RetainAllVariantProperties"] for request in cloud.sagemaker.requests("update_endpoint")] == [kept]


def test_a_fleet_that_is_not_to_follow_its_traffic_gets_the_planned_instances(
    cloud: FakeAws, status: RunStatus
) -> None:
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000", instances=3)
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    (update,) = cloud.sagemaker.requests("update_endpoint")
    assert update["RetainAllVariantProperties"] is False


def test_an_update_that_sagemaker_refuses_leaves_alarms_tags_and_scaling_of_the_model_that_serves(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    deployable(memory)
    any_run(memory, "older-00000000", endpoint=any_plan().endpoint.model_dump() | {"autoscaling": SCALED})
    cloud.sagemaker.add_endpoint(
        LIVE, OLD, "older-00000000", tags={"finetune:ttl-hours": "1"}, config_tags={"finetune:ttl-hours": "72"}
    )
    cloud.sagemaker.refuse("update_endpoint", "ResourceLimitExceeded")
    with pytest.raises(FineTuningError) as refused:
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert refused.value.code == Code.QUOTA_EXCEEDED
    assert cloud.sagemaker.tags_of("endpoint", LIVE)["finetune:ttl-hours"] == "72"
    assert OLD in str(cloud["cloudwatch"].requests("put_metric_alarm")[-1]["Dimensions"])
    scaling = [name for name, _ in cloud["application-autoscaling"].calls]
    assert scaling == ["deregister_scalable_target", "register_scalable_target", "put_scaling_policy"]


@pytest.mark.parametrize("state", ["Updating", "Creating", "Deleting"])
def test_an_endpoint_that_is_being_changed_is_waited_for(
    cloud: FakeAws, memory: MemoryStore, status: RunStatus, state: str
) -> None:
    live = cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000", status=state)
    result = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert (result["outcome"], result["message"]) == (
        "waiting",
        f"Waiting for the deletion of {LIVE}"
        if state == "Deleting"
        else f"Waiting for the endpoint {LIVE}, which is being changed",
    )
    assert not cloud.sagemaker.requests("update_endpoint")
    live["EndpointStatus"] = "InService"
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "go"
    kept = memory.load(f"runs/{RUN_ID}/status.json", RunStatus)
    assert (kept.progress, kept.endpoint_wait_began) == ("", None)


def test_a_run_does_not_wait_for_an_endpoint_for_ever(cloud: FakeAws, memory: MemoryStore) -> None:
    run = deployable(memory)
    run.record("", endpoint_wait_began=hours_ago(6.1))
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000", status="Updating")
    with pytest.raises(FineTuningError) as refused:
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert refused.value.code == Code.ENDPOINT_BUSY


def test_runs_deploy_to_one_endpoint_in_the_order_in_which_they_come(cloud: FakeAws, memory: MemoryStore) -> None:
    deployable(memory)
    ids = [f"later-{number:08d}" for number in (1, 2)]
    for run_id in ids:
        later = any_run(memory, run_id, endpoint=any_plan().endpoint.model_dump() | {"name": "faq"})
        memory.save(later.layout.status, any_status(run_id=run_id, state=RunState.RUNNING))

    def outcome(run_id: str) -> str:
        result = invoke(deploy_endpoint, run_id=run_id, variant="live")
        return result["message"] if result["outcome"] == "waiting" else "go"

    def end(run_id: str) -> None:
        memory.save(f"runs/{run_id}/status.json", any_run_status(memory, run_id, RunState.FAILED))

    assert outcome(RUN_ID) == "go"
    assert [outcome(run_id) for run_id in ids] == [
        f"Waiting for the run {RUN_ID}, which deploys to {LIVE} first",
        f"Waiting for the run {RUN_ID}, which deploys to {LIVE} first",
    ]
    cloud.sagemaker.endpoint(LIVE)["EndpointStatus"] = "InService"
    end(RUN_ID)
    assert outcome(ids[1]) == f"Waiting for the run {ids[0]}, which deploys to {LIVE} first"
    assert outcome(ids[0]) == "go"


def any_run_status(memory: MemoryStore, run_id: str, state: RunState) -> RunStatus:
    return memory.load(f"runs/{run_id}/status.json", RunStatus).model_copy(update={"state": state})


@pytest.mark.parametrize("temporary", [BASE, CANDIDATE])
def test_a_temporary_endpoint_is_gone_before_the_live_one_is_made(
    cloud: FakeAws, status: RunStatus, temporary: str
) -> None:
    cloud.sagemaker.add_endpoint(temporary, temporary, status="Deleting")
    result = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert (result["outcome"], result["message"]) == ("waiting", f"Waiting for the deletion of {temporary}")
    assert cloud.sagemaker.names("endpoint") == {temporary}


@pytest.mark.parametrize("temporary", [BASE, None])
def test_a_quota_is_waited_for_only_while_the_run_itself_uses_it(
    cloud: FakeAws, status: RunStatus, temporary: str | None
) -> None:
    if temporary:
        cloud.sagemaker.add_endpoint(temporary, temporary, status="Creating")
    cloud.sagemaker.refuse("create_endpoint", "ResourceLimitExceeded")
    if temporary:
        result = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
        assert (result["outcome"], result["message"]) == ("waiting", f"Waiting for {temporary}")
    else:
        with pytest.raises(FineTuningError) as refused:
            invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
        assert refused.value.code == Code.QUOTA_EXCEEDED


def test_an_endpoint_of_this_run_that_failed_makes_way_for_one_on_the_next_type(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = deployable(memory)
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    cloud.sagemaker.endpoint(LIVE)["EndpointStatus"] = "Failed"
    endpoint = run.plan.endpoint.on(HostingOption(instance_type="ml.g5.48xlarge", usd_per_hour=20.36))
    run.save_plan(run.plan.model_copy(update={"endpoint": endpoint}))
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "waiting"
    assert cloud.sagemaker.names("endpoint") == set()
    result = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert (result["outcome"], result["instance_type"]) == ("go", "ml.g5.48xlarge")
    config = cloud.sagemaker.requests("create_endpoint_config")[-1]
    assert config["EndpointConfigName"] != MODEL, "another type, another configuration and model"
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.g5.48xlarge"
    assert config["ProductionVariants"][0]["ModelName"] == config["EndpointConfigName"]
    assert Names.run_id_in(config["EndpointConfigName"], f"{PREFIX}-") == RUN_ID


def test_an_endpoint_of_an_earlier_run_that_failed_makes_way_as_well(cloud: FakeAws, status: RunStatus) -> None:
    """SageMaker does not update it any more, and it serves nobody."""
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000", status="Failed")
    waiting = invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert waiting["message"] == f"Waiting for the deletion of {LIVE}, which failed"
    assert invoke(deploy_endpoint, run_id=RUN_ID, variant="live")["outcome"] == "go"
    assert cloud.sagemaker.endpoint(LIVE)["EndpointConfigName"] == MODEL


@pytest.mark.parametrize(
    ("run_id", "replacement", "code"),
    [("older-00000000", "owner", Code.ENDPOINT_NOT_OWNED), (None, "anyone", Code.ENDPOINT_NAME_TAKEN)],
)
def test_a_failed_endpoint_of_somebody_else_is_not_deleted(
    cloud: FakeAws,
    status: RunStatus,
    monkeypatch: pytest.MonkeyPatch,
    run_id: str | None,
    replacement: str,
    code: Code,
) -> None:
    monkeypatch.setenv("ENDPOINT_REPLACEMENT", replacement)
    settings.cache_clear()
    cloud.sagemaker.add_endpoint(LIVE, OLD, run_id, status="Failed")
    with pytest.raises(FineTuningError) as refused:
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert refused.value.code == code
    assert cloud.sagemaker.names("endpoint") == {LIVE}


def test_only_the_newest_configurations_are_kept_with_their_models(cloud: FakeAws, status: RunStatus) -> None:
    """`finetune rollback` returns to one of three: the one that serves and two before it."""
    chain = [f"{PREFIX}-run{number}-00000000" for number in range(5)]
    replaced = ""
    for config in chain:
        tags = {"finetune:endpoint": LIVE} | ({"finetune:replaces": replaced} if replaced else {})
        cloud.sagemaker.add("endpoint_config", config, tags=tags)
        cloud.sagemaker.add("model", config)
        replaced = config
    cloud.sagemaker.add("endpoint_config", f"{PREFIX}-other", tags={"finetune:endpoint": f"{PREFIX}-other"})
    cloud.sagemaker.add_endpoint(LIVE, chain[-1])
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.names("endpoint_config") == {MODEL, chain[-1], chain[-2], f"{PREFIX}-other"}
    assert cloud.sagemaker.names("model") == {MODEL, chain[-1], chain[-2]}


@pytest.mark.parametrize("variant", ["live", "candidate", "base"])
def test_a_run_that_has_ended_creates_nothing(cloud: FakeAws, memory: MemoryStore, variant: str) -> None:
    deployable(memory).record("", execution_arn="arn:execution")
    cloud["stepfunctions"].answers["describe_execution"] = ends(0)
    with pytest.raises(FineTuningError) as raised:
        invoke(deploy_endpoint, run_id=RUN_ID, variant=variant)
    assert raised.value.code == Code.RUN_ABORTED
    assert not {name for kind in ("model", "endpoint_config", "endpoint") for name in cloud.sagemaker.names(kind)}


@pytest.mark.parametrize(("variant", "name"), [("live", LIVE), ("candidate", CANDIDATE), ("base", BASE)])
def test_an_endpoint_whose_run_ended_while_it_was_created_expires_at_once(
    cloud: FakeAws, memory: MemoryStore, variant: str, name: str
) -> None:
    run = deployable(memory, ttl_hours="never")
    run.record("", execution_arn="arn:execution")
    cloud["stepfunctions"].answers["describe_execution"] = ends(1)
    with pytest.raises(FineTuningError) as raised:
        invoke(deploy_endpoint, run_id=RUN_ID, variant=variant)
    assert f"The endpoint {name} cannot be deleted yet; the sweeper will delete it." in raised.value.message
    assert cloud.sagemaker.tags_of("endpoint", name)[TTL_TAG] == "0"


def test_an_update_whose_run_ended_meanwhile_does_not_let_the_endpoint_expire(
    cloud: FakeAws, memory: MemoryStore
) -> None:
    run = deployable(memory, ttl_hours="never")
    run.record("", execution_arn="arn:execution")
    cloud.sagemaker.add_endpoint(LIVE, OLD, "older-00000000")
    cloud["stepfunctions"].answers["describe_execution"] = ends(1)
    with pytest.raises(FineTuningError):
        invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.tags_of("endpoint", LIVE)[TTL_TAG] == "never"


def test_a_step_that_is_called_by_hand_has_no_execution(cloud: FakeAws, memory: MemoryStore) -> None:
    deployable(memory).record("", execution_arn="arn:execution")
    cloud["stepfunctions"].refuse("describe_execution", "ExecutionDoesNotExist")
    invoke(deploy_endpoint, run_id=RUN_ID, variant="live")
    assert cloud.sagemaker.names("endpoint") == {LIVE}
