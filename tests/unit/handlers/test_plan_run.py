"""PlanRun over an emulated account: the whole preflight, from the upload to plan.json."""

import json
from functools import partial
from typing import Any

import boto3
import pytest

from finetuning.aws.jumpstart_bucket import JumpStartBucket
from finetuning.aws.run_store import run_store
from finetuning.errors import Code, FineTuningError, RunRefused, TransientAwsError
from finetuning.handlers import plan_run, step
from finetuning.jumpstart.spec import cache_bucket, private_bucket
from finetuning.operations import preflight
from finetuning.operations.run import Run
from finetuning.runs.endpoint_plan import Autoscaling
from finetuning.runs.layout import measurement
from finetuning.runs.plan import Measurement, RunPlan
from finetuning.runs.status import RunState
from finetuning.runs.uploads import Upload
from finetuning.settings import settings
from tests.builders.aws import FakeAws
from tests.builders.handlers import invoke
from tests.builders.interleaving import Interleaving, PausingStore
from tests.builders.jumpstart import BASE_70B, LLAMA, NOW, any_spec
from tests.builders.memory import PREFIX, MemoryStore, any_run
from tests.builders.runs import any_failed_status
from tests.builders.stage import CHAT, EXECUTION, REGION, SilentQuotas, Stage, objects, trust_in


def run(event: dict[str, str]) -> dict[str, Any]:
    result: dict[str, Any] = invoke(plan_run, event)
    return result


def test_the_plan_names_the_request_that_accepted_the_licence(stage: Stage) -> None:
    event = stage.upload_run({"accept_eula": True})
    run({**event, "requester": "123456789012", "request_id": "N4N7GDK58NMKJ12R"})
    accepted = RunPlan.model_validate_json(stage.written(event, "plan.json")).accepted
    assert accepted is not None
    told = (accepted.requester, accepted.request_id, accepted.version_id)
    assert told == ("123456789012", "N4N7GDK58NMKJ12R", event["version_id"])


def test_an_execution_started_by_hand_names_no_requester_that_s3_would_not(stage: Stage) -> None:
    event = stage.upload_run({"accept_eula": True})
    run({**event, "requester": "arn:aws:iam::123456789012:user/the boss", "request_id": "x" * 300_000})
    accepted = RunPlan.model_validate_json(stage.written(event, "plan.json")).accepted
    assert accepted is not None
    assert (accepted.requester, accepted.request_id) == ("", "")


def test_a_good_upload_is_planned_and_everything_is_green_or_says_why_not(stage: Stage) -> None:
    event = stage.upload_run({"accept_eula": True, "evaluation": {"compare_with_base": True}})
    result = run(event)
    assert result == {
        "outcome": "planned",
        "run_id": result["run_id"],
        "parquet": False,
        "deploy": True,
        "compare_with_base": True,
        "judge": False,
        "promoted": False,
        "approval": False,
        "approval_seconds": 86_400,
        "must_beat_base": False,
        "imported": False,
        "autoscaling": False,
        "shards_at_once": 5,
        "message": f"Planned: {LLAMA}8b-instruct 2.6.0 on ml.g5.12xlarge",
        "links": stage.status(event).links,
    }
    assert EXECUTION in result["links"]["Execution"]
    plan = RunPlan.model_validate_json(stage.written(event, "plan.json"))
    assert (plan.task, plan.model_version) == ("chat", any_spec(LLAMA + "8b-instruct").version)
    assert [file.key for file in plan.data_files] == ["runs/demo/data.jsonl"]
    status = stage.status(event)
    by_check = {check.check: check for check in status.checks}
    assert not [check for check in status.checks if check.ok is False]
    assert by_check["artefacts"].ok
    assert by_check["key"].ok
    assert by_check["role"].ok
    assert by_check["requests"].ok
    assert by_check["quota"].ok is None
    assert status.cost.estimate_usd == plan.training.estimate.usd


def test_what_an_earlier_run_took_is_planned_with(stage: Stage) -> None:
    measured = Measurement(tokens_per_second=777, start_seconds=60, run_id="pirate-1", measured_at=NOW)
    run_store().save(measurement(LLAMA + "8b-instruct", "ml.g5.12xlarge"), measured)
    event = stage.upload_run({"accept_eula": True})
    run(event)
    plan = RunPlan.model_validate_json(stage.written(event, "plan.json"))
    assert plan.training.options[0].measured == measured
    assert "777 tokens/s on ml.g5.12xlarge after 60 s of start-up (measured by pirate-1" in str(plan.training.estimate)


def test_a_single_file_in_the_inbox_takes_every_default(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEPT_EULA", "true")
    event = stage.event("inbox/talk.jsonl", stage.upload("inbox/talk.jsonl", CHAT))
    assert run(event)["outcome"] == "planned"
    assert json.loads(stage.written(event, "run.json")) == {}


def test_five_faults_are_refused_together_and_nothing_is_planned(stage: Stage) -> None:
    event = stage.upload_run(
        {
            "modle": "x",
            "hyperparameters": {"epoch": 0},
            "training": {"instance_type": "ml.p4d.24xlarge", "max_cost_usd": 0.01},
        }
    )
    with pytest.raises(RunRefused) as refused:
        run(event)
    fields = [finding.field for finding in refused.value.findings]
    assert fields == [
        "modle",
        "accept_eula",
        "training.instance_type",
        "hyperparameters.epoch",
        "training.max_cost_usd",
    ]
    assert [check.field for check in stage.status(event).checks if check.ok is False] == fields
    with pytest.raises(stage.s3.exceptions.NoSuchKey):
        stage.written(event, "plan.json")


def test_the_same_upload_is_planned_once_and_again_only_by_the_execution_that_has_it(stage: Stage) -> None:
    event = stage.upload_run({"accept_eula": True})
    assert run(event)["outcome"] == "planned"
    assert run(event)["outcome"] == "planned"
    assert run({**event, "execution_arn": EXECUTION + "-second"})["outcome"] == "duplicate"


def test_a_run_without_data_is_refused(stage: Stage) -> None:
    key = "runs/empty/run.json"
    with pytest.raises(RunRefused) as refused:
        run(stage.event(key, stage.upload(key, b'{"accept_eula": true}')))
    assert [finding.code for finding in refused.value.findings] == ["UPLOAD_WITHOUT_DATA"]


def test_a_missing_script_or_missing_weights_are_found_before_the_job_starts(stage: Stage) -> None:
    spec = any_spec(LLAMA + "8b-instruct")
    stage.s3.delete_object(Bucket=cache_bucket(REGION), Key=spec.code_key)
    stage.s3.delete_object(Bucket=private_bucket(REGION), Key=spec.gated_key("ml.g5.12xlarge"))
    with pytest.raises(RunRefused) as refused:
        run(stage.upload_run({"accept_eula": True}))
    assert [finding.code for finding in refused.value.findings] == ["ARTIFACT_MISSING", "ARTIFACT_MISSING"]


def test_a_disabled_key_and_a_role_sagemaker_may_not_assume_are_found(stage: Stage) -> None:
    boto3.client("kms", region_name=REGION).disable_key(KeyId=stage.key.rpartition("/")[2])
    boto3.client("iam").update_assume_role_policy(RoleName="execution", PolicyDocument=trust_in("lambda.amazonaws.com"))
    # With the key disabled S3 would not write the status either; moto does, so that both findings can be seen.
    with pytest.raises(RunRefused) as refused:
        run(stage.upload_run({"accept_eula": True}))
    assert [finding.code for finding in refused.value.findings] == ["KMS_KEY_UNUSABLE", "ROLE_UNUSABLE"]


def test_an_endpoint_name_that_somebody_else_has_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker = boto3.client("sagemaker", region_name=REGION)
    sagemaker.create_model(
        ModelName="m", ExecutionRoleArn=stage.role, PrimaryContainer={"Image": "i", "ModelDataUrl": "s3://b/m"}
    )
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="finetune-dev-theirs", EndpointConfigName="c")
    with pytest.raises(RunRefused) as refused:
        run(stage.upload_run({"accept_eula": True, "endpoint": {"name": "theirs"}}))
    assert [(finding.code, finding.field) for finding in refused.value.findings] == [("NAME_TAKEN", "endpoint.name")]
    tags = {"finetune:created-by": "finetune-dev", "finetune:owners": "team-a"}
    sagemaker.create_endpoint(
        EndpointName="finetune-dev-owned",
        EndpointConfigName="c",
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    monkeypatch.setenv("ENDPOINT_REPLACEMENT", "owner")
    settings.cache_clear()
    with pytest.raises(RunRefused) as not_owned:
        run(stage.upload_run({"accept_eula": True, "endpoint": {"name": "owned"}}))
    assert [finding.code for finding in not_owned.value.findings] == ["ENDPOINT_NOT_OWNED"]


def test_a_passing_trouble_of_aws_is_retried_not_held_against_the_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*asked: Any) -> Any:
        raise TransientAwsError(Code.AWS_UNAVAILABLE, "S3 is busy", "Nothing to do.")

    monkeypatch.setattr(JumpStartBucket, "spec", busy)
    with pytest.raises(TransientAwsError):
        run(stage.upload_run({"accept_eula": True}))


def test_a_run_json_that_is_gone_is_said(stage: Stage) -> None:
    with pytest.raises(FineTuningError, match="deleted"):
        run(stage.event("runs/demo/run.json", "no-such-version"))


REDEPLOYED = Upload("uploads", "runs/demo/run.json", "v1")
FIRST, SECOND, THIRD = "arn:execution:first", "arn:execution:second", "arn:execution:third"


@pytest.fixture
def trained(cloud: FakeAws, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of the first execution that has ended with a model; the account allows to deploy it again."""
    run = any_run(memory, REDEPLOYED.run_id, model_id=BASE_70B)
    run.is_owned_by(FIRST)
    memory.save(run.layout.status, any_failed_status(run_id=run.run_id, training_job="job"))
    memory.write(run.layout.model_artifact("job") + "weights", b"")
    monkeypatch.setattr(preflight, "account_quotas", lambda region: SilentQuotas())
    cloud["kms"].answers["describe_key"] = {"KeyMetadata": {"KeyState": "Enabled"}}
    trust = {"Role": {"AssumeRolePolicyDocument": trust_in("sagemaker.amazonaws.com")}}
    cloud["iam"].answers["get_role"] = trust
    return run


@pytest.mark.parametrize("redeploy", [None, {}])
def test_an_object_of_another_bucket_is_refused_and_nothing_is_written(
    stage: Stage, redeploy: dict[str, Any] | None
) -> None:
    event = stage.upload_run({"accept_eula": True}) | {"bucket": "elsewhere"}
    with pytest.raises(FineTuningError, match=r"the bucket elsewhere; .* read uploads only\.") as refused:
        invoke(plan_run, event, redeploy=redeploy)
    assert refused.value.code == Code.UPLOAD_NOT_FOUND
    assert objects(stage, "") == {}


def redeployed(execution_arn: str = SECOND, **terms: Any) -> dict[str, Any]:
    upload = {"bucket": REDEPLOYED.bucket, "key": REDEPLOYED.key, "version_id": REDEPLOYED.version_id}
    result: dict[str, Any] = invoke(plan_run, upload, execution_arn=execution_arn, redeploy=terms)
    return result


def test_the_model_of_an_ended_run_is_deployed_again_for_the_execution_that_asks(trained: Run) -> None:
    result = redeployed(ttl_hours=3)
    assert (result["outcome"], result["deploy"], result["compare_with_base"]) == ("redeploy", True, False)
    assert trained.is_owned_by(SECOND)
    status = trained.status
    assert (status.state, status.error, status.execution_arn) == (RunState.RUNNING, None, SECOND)
    assert status.redeployed_at
    saved = Run(trained.run_id, store=trained.store, prefix=PREFIX).plan
    assert (saved.endpoint.ttl_hours, saved.endpoint.deploy) == (3, True)


def test_a_run_that_still_runs_is_not_taken_over(trained: Run) -> None:
    trained.record("Training", state=RunState.RUNNING)
    before = trained.status
    assert redeployed(ttl_hours=3)["outcome"] == "duplicate"
    assert trained.is_owned_by(FIRST)
    assert trained.status == before
    assert Run(trained.run_id, store=trained.store, prefix=PREFIX).plan.endpoint.ttl_hours == 8


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ("x", "they must be an object"),
        (["ttl_hours"], "they must be an object"),
        ({"ttl_hours": "long"}, "ttl_hours: "),
        ({"ttl_hours": 1e306}, "ttl_hours: "),
        ({"instances": 9}, "instances: "),
    ],
)
def test_terms_that_cannot_be_used_are_refused_and_the_run_stays_as_it_is(
    trained: Run, terms: Any, reason: str
) -> None:
    before = trained.status
    upload = {"bucket": REDEPLOYED.bucket, "key": REDEPLOYED.key, "version_id": REDEPLOYED.version_id}
    with pytest.raises(RunRefused) as refused:
        invoke(plan_run, upload, execution_arn=SECOND, redeploy=terms)
    assert [(each.code, each.field) for each in refused.value.findings] == [(Code.RUN_JSON_INVALID, "redeploy")]
    assert refused.value.findings[0].message.startswith(f"These terms of a deployment cannot be used: {reason}")
    assert trained.is_owned_by(FIRST)
    assert trained.status == before


def test_of_two_redeployments_at_the_same_moment_one_takes_the_run_over(
    trained: Run, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = dict(memory.objects)
    for seed in range(100):
        store, order = PausingStore(), Interleaving(seed, lambda: None)
        store.objects, store.pause = dict(ended), order.pause
        monkeypatch.setattr(step, "run_store", lambda store=store: store)
        outcomes: dict[str, str] = {}

        def redeploy(execution_arn: str, outcomes: dict[str, str] = outcomes) -> None:
            outcomes[execution_arn] = redeployed(execution_arn)["outcome"]

        for execution_arn in (SECOND, THIRD):
            order.add(execution_arn, partial(redeploy, execution_arn))
        order.run()
        assert sorted(outcomes.values()) == ["duplicate", "redeploy"], f"seed {seed}: {order.trace}"
        owner = next(arn for arn, outcome in outcomes.items() if outcome == "redeploy")
        run = Run(trained.run_id, store=store, prefix=PREFIX)
        assert (run.status.execution_arn, run.is_owned_by(owner)) == (owner, True)


def test_the_execution_that_took_the_run_over_may_repeat_the_step(trained: Run) -> None:
    assert [redeployed()["outcome"] for _ in range(2)] == ["redeploy", "redeploy"]


def test_a_run_that_left_no_model_is_not_deployed_again(trained: Run, memory: MemoryStore) -> None:
    del memory.objects[trained.layout.model_artifact("job") + "weights"]
    with pytest.raises(RunRefused) as refused:
        redeployed(ttl_hours=3)
    assert [finding.code for finding in refused.value.findings] == [Code.RUN_HAS_NO_MODEL]
    assert Run(trained.run_id, store=trained.store, prefix=PREFIX).plan.endpoint.ttl_hours == 8


IMPORTING = {
    "BEDROCK_IMPORT": "true",
    "KMS_KEY_ARN": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
}


def test_a_model_that_an_endpoint_served_is_imported_if_that_is_asked_for(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in IMPORTING.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    scaling = Autoscaling(min_instances=1, max_instances=2, invocations_per_instance=60)
    trained.save_plan(
        trained.plan.model_copy(update={"endpoint": trained.plan.endpoint.model_copy(update={"autoscaling": scaling})})
    )
    result = redeployed(target="bedrock")
    assert (result["outcome"], result["imported"], result["autoscaling"]) == ("redeploy", True, False)
    endpoint = Run(trained.run_id, store=trained.store, prefix=PREFIX).plan.endpoint
    assert (endpoint.target, endpoint.idle_minutes, endpoint.autoscaling) == ("bedrock", "never", None)
    assert endpoint.import_price
    assert endpoint.import_price.units == 8
    assert "An imported model has neither autoscaling" in str(trained.status.events)
    back = redeployed(target="sagemaker")
    assert (back["imported"], back["deploy"]) == (False, True)
    again = Run(trained.run_id, store=trained.store, prefix=PREFIX).plan.endpoint
    assert (again.target, again.idle_minutes) == ("sagemaker", 60)


def test_a_stage_without_imports_refuses_one_for_an_earlier_run(trained: Run) -> None:
    with pytest.raises(RunRefused) as refused:
        redeployed(target="bedrock")
    assert [finding.code for finding in refused.value.findings] == [Code.BEDROCK_NOT_ENABLED]
    assert "-c bedrock_import=true" in refused.value.fix
    assert Run(trained.run_id, store=trained.store, prefix=PREFIX).plan.endpoint.target == "sagemaker"
