"""PromoteModel over two accounts' buckets: what is copied, what is proved, and what is refused before and after."""

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from finetuning.aws.model_files import ModelFiles
from finetuning.aws.pricing import PriceList
from finetuning.aws.run_store import run_store
from finetuning.errors import Code, FineTuningError, RunRefused
from finetuning.handlers import plan_run, promote_model, register_model
from finetuning.operations import promotion
from finetuning.operations.preflight import price_list
from finetuning.operations.run import Run
from finetuning.runs.layout import RunLayout, promotion_key
from finetuning.runs.plan import RunPlan
from finetuning.runs.release import Release, artefact_digest
from finetuning.runs.status import RunState
from finetuning.settings import settings
from tests.builders.handlers import invoke
from tests.builders.jumpstart import LLAMA, any_spec
from tests.builders.memory import any_run
from tests.builders.promotion import LOCATION, PACKAGE, PROMOTE_FROM, SOURCE_BUCKET, any_package, any_release
from tests.builders.runs import RUN_ID, any_evaluation, any_status
from tests.builders.stage import ARTIFACTS, Stage, objects

FILES = {"config.json": b"{}", "model-1-of-2.safetensors": b"first", "model-2-of-2.safetensors": b"second"}
MODEL = LLAMA + "8b-instruct"


class Trainer:
    """The account that trained: its bucket, its registry, and what a role of another account may ask of it."""

    def __init__(self, stage: Stage) -> None:
        self.s3 = stage.s3
        self.s3.create_bucket(Bucket=SOURCE_BUCKET)
        self.s3.put_bucket_versioning(Bucket=SOURCE_BUCKET, VersioningConfiguration={"Status": "Enabled"})
        for name, body in FILES.items():
            self.put(name, body)
        self.release = any_release(
            *ModelFiles(LOCATION).described(), model_id=MODEL, model_version=any_spec(MODEL).version
        )
        self.document = self.release.model_dump_json(indent=2).encode()
        self.s3.put_object(Bucket=SOURCE_BUCKET, Key=RunLayout(RUN_ID).release, Body=self.document)
        self.package = any_package(self.release, self.document)

    def put(self, name: str, body: bytes) -> None:
        key = LOCATION.removeprefix(f"s3://{SOURCE_BUCKET}/") + name
        self.s3.put_object(Bucket=SOURCE_BUCKET, Key=key, Body=body, ChecksumAlgorithm="SHA256")

    def describe_model_package(self, arn: str) -> dict[str, Any]:
        assert arn == PACKAGE
        return self.package


@pytest.fixture
def trainer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """The stage of this process is `prod`, which promotes the models of that account and trains none."""
    environment = {**PROMOTE_FROM, "stage": "prod", "training": "false"}
    for name, value in environment.items():
        monkeypatch.setenv(name.upper(), value)
    settings.cache_clear()
    made = Trainer(stage)
    monkeypatch.setattr(promotion, "sagemaker", lambda: made)
    return made


def submit(stage: Stage, **run_json: Any) -> dict[str, str]:
    return stage.upload_run({"promote": PACKAGE, **run_json}, **{"README.md": b"no data"})


def promote(event: dict[str, str]) -> dict[str, Any]:
    """PlanRun, then PromoteModel as the state machine calls it."""
    planned = invoke(plan_run, event)
    result: dict[str, Any] = invoke(promote_model, {**event, "run_id": planned["run_id"]})
    return result


def refusal(event: dict[str, str]) -> FineTuningError:
    with pytest.raises(FineTuningError) as refused:
        promote(event)
    return refused.value


def copied(stage: Stage, run_id: str) -> dict[str, bytes]:
    return objects(stage, RunLayout(run_id).model_artifact("the-job"))


def test_plan_run_leaves_a_promotion_to_the_role_that_may_read_there(stage: Stage, trainer: Trainer) -> None:
    event = submit(stage)
    result = invoke(plan_run, event)
    assert (result["outcome"], result["approval"], result["deploy"]) == ("promotion", True, True)
    assert result["promoted"] is True
    assert result["must_beat_base"] is result["compare_with_base"] is False
    assert result["message"] == f"Promoting {PACKAGE}"


def test_the_approved_model_is_copied_with_the_same_digest(stage: Stage, trainer: Trainer) -> None:
    event = submit(stage, endpoint={"name": "faq"})
    result = promote(event)
    status, plan = stage.status(event), RunPlan.model_validate_json(stage.written(event, "plan.json"))
    assert copied(stage, plan.run_id) == FILES
    assert status.model_artifact == f"s3://{ARTIFACTS}/{RunLayout(plan.run_id).model_artifact('the-job')}"
    here, digest = ModelFiles(status.model_artifact).described(), trainer.release.digest
    assert artefact_digest(here) == digest == trainer.package["CustomerMetadataProperties"]["artefact-digest"]
    assert result == {
        "imported": False,
        "autoscaling": False,
        "message": f"The model has the digest that is registered and approved: {digest}",
        "links": status.links,
    }
    assert (plan.endpoint.name, plan.approval) == ("faq", True)
    assert plan.checks == status.checks
    assert {"model", "requests"} <= {check.check for check in plan.checks}
    assert not [check for check in status.checks if check.ok is False]


def test_the_specification_is_of_the_version_that_was_trained_and_prices_are_of_this_region(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def spec(model_id: str, version: str) -> Any:
        asked.append((model_id, version))
        return any_spec(model_id)

    def prices(region: str) -> PriceList:
        asked.append((region,))
        return price_list(region)

    monkeypatch.setattr(promotion, "price_list", prices)
    monkeypatch.setattr(promotion, "jumpstart_bucket", lambda: SimpleNamespace(spec=spec))
    promote(submit(stage))
    assert asked == [(MODEL, any_spec(MODEL).version), ("us-east-1",)]


def test_autoscaling_and_import_are_those_of_run_json(stage: Stage, trainer: Trainer) -> None:
    result = promote(submit(stage, endpoint={"autoscaling": {"max_instances": 2}}))
    assert (result["autoscaling"], result["imported"]) == (True, False)


@pytest.mark.parametrize("status", ["PendingManualApproval", "Rejected"])
def test_nothing_is_copied_of_a_model_that_is_not_approved(stage: Stage, trainer: Trainer, status: str) -> None:
    trainer.package["ModelApprovalStatus"] = status
    event = submit(stage)
    assert refusal(event).code == Code.PROMOTION_NOT_APPROVED
    assert not objects(stage, f"{RunLayout(stage.status(event).run_id).training_output}")


def test_an_approval_that_was_withdrawn_meanwhile_ends_the_run(stage: Stage, trainer: Trainer) -> None:
    event = submit(stage)
    promote(event)
    trainer.package["ModelApprovalStatus"] = "Rejected"
    with pytest.raises(FineTuningError, match="PROMOTION_NOT_APPROVED"):
        invoke(promote_model, {**event, "run_id": stage.status(event).run_id})


def test_after_the_approval_the_copy_is_found_and_compared_again(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = submit(stage)
    first = promote(event)
    run_id = stage.status(event).run_id
    monkeypatch.setattr(ModelFiles, "_copy", lambda *_: pytest.fail("a file is copied twice"))
    assert invoke(promote_model, {**event, "run_id": run_id}) == first
    monkeypatch.undo()
    monkeypatch.setattr(promotion, "sagemaker", lambda: trainer)
    for name, value in {**PROMOTE_FROM, "stage": "prod"}.items():
        monkeypatch.setenv(name.upper(), value)
    stage.s3.put_object(Bucket=ARTIFACTS, Key=RunLayout(run_id).model_artifact("the-job") + "extra.bin", Body=b"x")
    with pytest.raises(FineTuningError, match="PROMOTION_DIGEST_DIFFERS"):
        invoke(promote_model, {**event, "run_id": run_id})


def test_a_copy_that_was_interrupted_goes_on_with_what_is_missing(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, copy, done, allowed = submit(stage), ModelFiles._copy, list[str](), 1

    def copy_some(files: ModelFiles, source: str, file: Any, key: str) -> None:
        if len(done) == allowed:
            raise FineTuningError(Code.AWS_UNAVAILABLE, "interrupted", "again")
        done.append(file.name)
        copy(files, source, file, key)

    monkeypatch.setattr(ModelFiles, "_copy", copy_some)
    monkeypatch.setattr("finetuning.aws.model_files.AT_ONCE", 1)
    assert refusal(event).code == Code.AWS_UNAVAILABLE
    run_id, allowed = stage.status(event).run_id, len(FILES)
    invoke(promote_model, {**event, "run_id": run_id})
    assert copied(stage, run_id) == FILES
    assert sorted(done) == sorted(FILES)


def test_a_file_that_was_replaced_after_the_approval_is_not_what_is_copied(stage: Stage, trainer: Trainer) -> None:
    trainer.put("config.json", b'{"backdoor": true}')
    event = submit(stage)
    promote(event)
    assert copied(stage, stage.status(event).run_id)["config.json"] == b"{}"


def test_a_release_that_was_replaced_is_refused(stage: Stage, trainer: Trainer) -> None:
    trainer.put("config.json", b'{"backdoor": true}')
    forged = any_release(*ModelFiles(LOCATION).described(), model_id=MODEL).model_dump_json().encode()
    stage.s3.put_object(Bucket=SOURCE_BUCKET, Key=RunLayout(RUN_ID).release, Body=forged)
    event = submit(stage)
    assert refusal(event).code == Code.PROMOTION_DIGEST_DIFFERS
    assert copied(stage, stage.status(event).run_id) == {}


def test_a_copy_that_is_not_the_same_is_not_deployed(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelFiles, "_copy", lambda *_: None)
    event = submit(stage)
    error = refusal(event)
    assert error.code == Code.PROMOTION_DIGEST_DIFFERS
    assert f"The files in s3://{ARTIFACTS}/runs/" in error.message
    assert stage.status(event).model_artifact == ""
    assert run_store().read(promotion_key(trainer.release.digest)) is None


def test_a_model_that_was_promoted_is_named_with_its_run(stage: Stage, trainer: Trainer) -> None:
    first = submit(stage)
    promote(first)
    run_id = stage.status(first).run_id
    again = refusal(submit(stage))
    assert (again.code, again.message) == (Code.ALREADY_PROMOTED, f"The run {run_id} has promoted this model already.")
    assert again.fix.endswith(f"finetune deploy {run_id} --stage prod")
    for key in objects(stage, RunLayout(run_id).training_output):
        stage.s3.delete_object(Bucket=ARTIFACTS, Key=RunLayout(run_id).training_output + key)
    third = submit(stage)
    promote(third)
    assert copied(stage, stage.status(third).run_id) == FILES


def test_a_version_that_is_not_shared_is_refused_with_what_to_deploy_there(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(arn: str) -> dict[str, Any]:
        raise FineTuningError(Code.ACCESS_DENIED, "Access denied: not authorized.", "Check it.")

    monkeypatch.setattr(trainer, "describe_model_package", refuse)
    error = refusal(submit(stage))
    assert error.code == Code.PROMOTION_UNUSABLE
    said = f"The account 111122223333 does not let this stage read {PACKAGE}: Access denied: not authorized."
    assert error.message == said
    assert "promote_to=ACCOUNT/prod" in error.fix


@pytest.mark.parametrize(
    ("run_json", "code", "field"),
    [
        ({"promote": PACKAGE.replace("111122223333", "999999999999")}, Code.PROMOTION_UNUSABLE, ""),
        ({"hyperparameters": {"epoch": 3}}, Code.RUN_JSON_INVALID, "hyperparameters"),
        ({"endpoint": {"deploy": False}}, Code.RUN_JSON_INVALID, "endpoint.deploy"),
        ({"promote": "the best one"}, Code.RUN_JSON_INVALID, "promote"),
    ],
)
def test_a_wrong_promotion_is_refused_before_anything_is_read_there(
    stage: Stage, trainer: Trainer, run_json: dict[str, Any], code: Code, field: str
) -> None:
    trainer.package = {}
    with pytest.raises(RunRefused) as refused:
        invoke(plan_run, submit(stage, **run_json))
    assert (refused.value.findings[0].code, refused.value.findings[0].field) == (code, field)


def test_a_promotion_that_the_account_cannot_deploy_copies_nothing(stage: Stage, trainer: Trainer) -> None:
    event = submit(stage, endpoint={"instance_type": "ml.t3.large"})
    error = refusal(event)
    assert [each.field for each in error.findings] == ["endpoint.instance_type"]
    status = stage.status(event)
    assert [each.field for each in status.checks if each.ok is False] == ["endpoint.instance_type"]
    assert status.events[-1].message == "The preflight found problems"
    assert copied(stage, stage.status(event).run_id) == {}


def test_data_is_refused_in_a_stage_that_does_not_train(stage: Stage, trainer: Trainer) -> None:
    with pytest.raises(RunRefused) as refused:
        invoke(plan_run, stage.upload_run({"accept_eula": True}))
    assert refused.value.findings[0].code == Code.TRAINING_DISABLED


def test_a_run_that_promotes_nothing_is_not_taken_for_one(stage: Stage, trainer: Trainer) -> None:
    event = stage.upload_run({"accept_eula": True})
    with pytest.raises(FineTuningError, match="promotes no model"):
        invoke(promote_model, {**event, "run_id": RUN_ID})


def test_a_promoted_model_is_registered_with_where_it_comes_from(
    stage: Stage, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = submit(stage)
    promote(event)
    asked: list[dict[str, Any]] = []
    version = "arn:aws:sagemaker:us-east-1:222233334444:model-package/finetune-prod-faq/1"
    registry = SimpleNamespace(register_model=lambda group, package: asked.append(package) or version)
    monkeypatch.setattr(register_model, "sagemaker", lambda: registry)
    invoke(register_model, run_id=stage.status(event).run_id)
    (package,) = asked
    said = package["CustomerMetadataProperties"]
    assert (said["promoted-from"], said["artefact-digest"]) == (PACKAGE, trainer.release.digest)
    assert (said["training-job"], said["verdict"]) == ("the-job", "helped")
    assert package["ModelApprovalStatus"] == "Approved"
    source = package["InferenceSpecification"]["Containers"][0]["ModelDataSource"]["S3DataSource"]["S3Uri"]
    assert source == stage.status(event).model_artifact


def test_a_stage_with_promote_to_releases_what_it_registers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOTE_TO", "222233334444/prod")
    settings.cache_clear()
    run = any_run(run_store())
    location = f"s3://{ARTIFACTS}/{run.layout.model_artifact('the-job')}"
    run.store.save(run.layout.status, any_status(model_artifact=location))
    run.store.save(run.layout.evaluation, any_evaluation())
    for name, body in FILES.items():
        stage.s3.put_object(Bucket=ARTIFACTS, Key=run.layout.model_artifact("the-job") + name, Body=body)
    asked: dict[str, Any] = {}
    registry = SimpleNamespace(
        register_model=lambda group, package: asked.update(package) or "arn:aws:x:model-package/finetune-dev-faq/1",
        share_group=lambda group, policy: asked.update(group=group, policy=policy),
    )
    monkeypatch.setattr(register_model, "sagemaker", lambda: registry)
    result = invoke(register_model, run_id=RUN_ID)
    said = asked["CustomerMetadataProperties"]
    document = run.store.read(run.layout.release) or b""
    release = Release.model_validate_json(document)
    assert asked["ModelApprovalStatus"] == "PendingManualApproval"
    assert said["artefact-digest"] == release.digest == artefact_digest(ModelFiles(location).described()) != ""
    assert (release.location, release.scores["verdict"]) == (location, "helped")
    assert asked["group"] == f"finetune-dev-{RUN_ID}"
    assert "role/finetune-prod-promotion-us-east-1" in json.dumps(asked["policy"])
    assert result["message"] == "Registered as version 1 of finetune-dev-faq; approve it there to promote it"
    assert boto3.client("s3").get_object(Bucket=ARTIFACTS, Key=run.layout.release)["Body"].read() == document


@pytest.mark.parametrize(("registered", "promoted"), [("", True), ("arn:aws:sagemaker:x:model-package/faq/1", False)])
def test_a_copy_that_was_never_deployed_needs_the_other_accounts_approval(
    stage: Stage, trainer: Trainer, registered: str, promoted: bool
) -> None:
    event = submit(stage)
    promote(event)
    run = any_run_again(stage.status(event).run_id)
    run.record("ended", state=RunState.FAILED, model_package=registered)
    result = invoke(plan_run, {**event, "execution_arn": "arn:again", "redeploy": {}})
    assert (result["outcome"], result["approval"], result["promoted"]) == ("redeploy", True, promoted)


def any_run_again(run_id: str) -> Run:
    return Run(run_id, store=run_store(), prefix="finetune-prod", step="AnyStep")
