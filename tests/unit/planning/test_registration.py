"""A run's entry in the model registry."""

from finetuning.jumpstart.constraints import violations
from finetuning.planning.registration import group_policy, model_package, model_package_group, promoted
from finetuning.runs.tags import OWNER_TAG, STAGE_TAG
from tests.builders.jumpstart import TARGET, any_spec, sagemaker_model
from tests.builders.runs import RUN_ID, any_plan

SCORES = {"verdict": "helped", "rouge-l:tuned": "0.533", "rouge-l:base": "0.133", "prompts": "1"}
ARTIFACT = f"s3://my-bucket/runs/{RUN_ID}/training/the-job/output/model/"
SPEC = any_spec(any_plan().model_id)


def test_group_and_version_are_what_sagemaker_takes() -> None:
    plan, model = any_plan(), sagemaker_model()
    group = model_package_group(plan, TARGET)
    package = model_package(SPEC, plan, TARGET, "the-job", ARTIFACT, {"train.jsonl": "a" * 64}, SCORES)
    assert list(violations(model.operation_model("CreateModelPackageGroup").input_shape, group)) == []
    assert list(violations(model.operation_model("CreateModelPackage").input_shape, package)) == []
    assert package["ModelPackageGroupName"] == group["ModelPackageGroupName"]


def test_a_property_that_sagemaker_would_refuse_is_found() -> None:
    shape = sagemaker_model().operation_model("CreateModelPackage").input_shape
    package = model_package(SPEC, any_plan(), TARGET, "the-job", ARTIFACT, {"a#b": "a" * 64}, None)
    assert list(violations(shape, package)) != []


def test_a_version_has_the_models_origin_and_scores() -> None:
    package = model_package(SPEC, any_plan(), TARGET, "the-job", ARTIFACT, {"train.jsonl": "a" * 64}, SCORES)
    properties = package["CustomerMetadataProperties"]
    assert (
        properties.items()
        >= {
            "run-id": RUN_ID,
            "training-job": "the-job",
            "sha256:train.jsonl": "a" * 64,
            "jumpstart-model-version": any_plan().model_version,
            "plan": f"s3://{TARGET.bucket}/runs/{RUN_ID}/plan.json",
            "report": f"s3://{TARGET.bucket}/runs/{RUN_ID}/report.html",
            "licence": "eula.txt",
            "licence-accepted-by": "account 123456789012 in S3 request N4N7GDK58NMKJ12R with "
            "s3://upload/runs/pirate/run.json version v1",
            **SCORES,
        }.items()
    )
    source = package["InferenceSpecification"]["Containers"][0]["ModelDataSource"]["S3DataSource"]
    assert source["S3Uri"] == f"s3://{TARGET.bucket}/runs/{RUN_ID}/training/the-job/output/model/"
    assert package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].endswith("/evaluation.json")


def test_a_model_that_was_only_trained_waits_for_approval() -> None:
    plan = any_plan()
    trained = plan.model_copy(update={"endpoint": plan.endpoint.model_copy(update={"deploy": False})})
    assert model_package(SPEC, plan, TARGET, "job", ARTIFACT, {}, None)["ModelApprovalStatus"] == "Approved"
    assert (
        model_package(SPEC, trained, TARGET, "job", ARTIFACT, {}, None)["ModelApprovalStatus"]
        == "PendingManualApproval"
    )


def test_the_group_has_the_users_tags_and_those_of_the_stage() -> None:
    tags = {tag["Key"]: tag["Value"] for tag in model_package_group(any_plan(tags={"team": "a"}), TARGET)["Tags"]}
    assert tags == {"team": "a", STAGE_TAG: TARGET.stage, OWNER_TAG: TARGET.prefix}


def test_a_version_names_the_model_it_comes_from_and_where_its_evaluation_is() -> None:
    package = model_package(SPEC, any_plan(), TARGET, "the-job", ARTIFACT, {}, SCORES)
    properties = package["CustomerMetadataProperties"]
    assert properties["jumpstart-model-id"] == any_plan().model_id
    assert properties["task"] == "chat"
    statistics = package["ModelMetrics"]["ModelQuality"]["Statistics"]
    assert statistics == {
        "ContentType": "application/json",
        "S3Uri": f"s3://{TARGET.bucket}/runs/{RUN_ID}/evaluation.json",
    }


def test_a_long_file_name_is_cut_to_what_sagemaker_takes_as_a_key() -> None:
    digests = {"n" * 200: "a" * 64}
    properties = model_package(SPEC, any_plan(), TARGET, "the-job", ARTIFACT, digests, None)[
        "CustomerMetadataProperties"
    ]
    assert max(map(len, properties)) == 128


def test_only_so_many_digests_are_kept_as_leave_room_for_the_rest() -> None:
    digests = {f"{number:03}.jsonl": "a" * 64 for number in range(60)}
    package = model_package(SPEC, any_plan(), TARGET, "the-job", ARTIFACT, digests, SCORES)
    shape = sagemaker_model().operation_model("CreateModelPackage").input_shape
    assert list(violations(shape, package)) == []
    kept = [key for key in package["CustomerMetadataProperties"] if key.startswith("sha256:")]
    assert kept == [f"sha256:{number:03}.jsonl" for number in range(20)]


def test_a_version_of_a_stage_that_promotes_waits_for_an_approval_though_it_is_deployed() -> None:
    package = model_package(
        SPEC, any_plan(), TARGET, "job", ARTIFACT, {}, None, releasing=True, more={"artefact-digest": "a" * 64}
    )
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["artefact-digest"] == "a" * 64


def test_a_promoted_version_says_where_it_comes_from_and_is_what_sagemaker_takes() -> None:
    promotion = {
        "model_package": "arn:aws:sagemaker:us-east-1:111122223333:model-package/finetune-dev-faq/3",
        "run_id": "faq-0a1b2c3d",
        "training_job": "the-job",
        "artefact_digest": "a" * 64,
        "scores": SCORES,
    }
    plan = any_plan(promotion=promotion)
    package = model_package(SPEC, plan, TARGET, "the-job", ARTIFACT, {}, None, more=promoted(plan))
    said = package["CustomerMetadataProperties"]
    assert (said["promoted-from"], said["artefact-digest"]) == (promotion["model_package"], "a" * 64)
    assert said.items() >= SCORES.items()
    assert "ModelMetrics" not in package, "the evaluation's document is in the other account"
    shape = sagemaker_model().operation_model("CreateModelPackage").input_shape
    assert list(violations(shape, package)) == []
    assert promoted(any_plan()) == {}


def test_a_group_is_shared_with_the_roles_and_lets_them_describe_its_versions_alone() -> None:
    roles = ["arn:aws:iam::222233334444:role/finetune-prod-promotion-us-east-1"]
    policy = group_policy(any_plan(), TARGET, roles)
    account = TARGET.role_arn.split(":")[4]
    assert policy["Version"] == "2012-10-17"
    assert policy["Statement"] == [
        {
            "Sid": "Promotion",
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam::222233334444:root"]},
            "Action": "sagemaker:DescribeModelPackage",
            "Resource": f"arn:aws:sagemaker:{TARGET.region}:{account}:model-package/{TARGET.prefix}-{RUN_ID}/*",
            "Condition": {"ArnEquals": {"aws:PrincipalArn": roles}},
        }
    ]
