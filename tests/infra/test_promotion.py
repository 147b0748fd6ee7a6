"""What two accounts allow each other so that a model can be promoted: exactly these statements, and no others."""

import json
from typing import Any

import pytest

from finetuning.settings import Settings, StageSettings
from finetuning_cdk.config import ConfigurationError, StageConfig
from tests.infra.rules import Deployed, listed
from tests.infra.synthesis import PROMOTE_FROM, RECEIVER, SOURCE_BUCKET, SOURCE_KEY, TRAINER, Synthesised, synthesise

ROLE = f"arn:aws:iam::{RECEIVER}:role/finetune-prod-promotion-<AWS::Region>"
MODELS, RELEASES = "runs/*/training/*/output/model/*", "runs/*/release.json"
THERE = {"AWS": f"arn:<AWS::Partition>:iam::{RECEIVER}:root"}
THE_ROLE = {"ArnEquals": {"aws:PrincipalArn": [ROLE]}}
VIA_S3 = {"kms:ViaService": "s3.<AWS::Region>.amazonaws.com"}


def deployed(stage: Synthesised) -> Deployed:
    return Deployed(template.to_json() for template in stage.templates.values())


def statements_about(stage: Synthesised, *types: str, containing: str) -> list[dict[str, Any]]:
    """The statements of resources' own policies that contain the text."""
    return [each for _, each in deployed(stage).opened(*types) if containing in json.dumps(each)]


def policies_with(stage: Synthesised, text: str) -> set[str]:
    """The policies of roles that contain the text, without what CDK adds to their ids."""
    return {id.partition("Permissions")[0] for id, each in deployed(stage).granted() if text in json.dumps(each)}


def test_the_bucket_gives_the_other_account_models_and_releases_alone(releasing: Synthesised) -> None:
    bucket = "<Artifacts82DD59A1.Arn>"
    found = statements_about(releasing, "AWS::S3::BucketPolicy", containing=RECEIVER)
    assert found == [
        {
            "Sid": sid,
            "Effect": "Allow",
            "Principal": THERE,
            "Action": action,
            "Resource": f"{bucket}/{key}",
            "Condition": THE_ROLE,
        }
        for sid, action, key in (
            ("PromotedModels", "s3:GetObjectVersion", MODELS),
            ("Releases", "s3:GetObject", RELEASES),
        )
    ]


def test_the_key_decrypts_for_the_same_role_through_s3_alone(releasing: Synthesised) -> None:
    (found,) = statements_about(releasing, "AWS::KMS::Key", containing=RECEIVER)
    assert found == {
        "Sid": "PromotedModelsInS3",
        "Effect": "Allow",
        "Principal": THERE,
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": {**THE_ROLE, "StringEquals": VIA_S3},
    }


def test_no_role_of_the_stage_that_trains_mentions_the_other_account(releasing: Synthesised) -> None:
    assert policies_with(releasing, RECEIVER) == set()
    assert policies_with(releasing, "sagemaker:PutModelPackageGroupPolicy") == {"FunctionsRegisterModel"}
    assert policies_with(releasing, "sagemaker:UpdateModelPackage") == {"TeamOperatorFC40BBED"}


def test_a_stage_that_promotes_nothing_mentions_no_other_account(dev: Synthesised, prod: Synthesised) -> None:
    for stage in (dev, prod):
        assert statements_about(stage, "AWS::S3::BucketPolicy", "AWS::KMS::Key", containing="promotion") == []
        for action in ("PutModelPackageGroupPolicy", "UpdateModelPackage", "DescribeModelPackage"):
            assert policies_with(stage, f"sagemaker:{action}") == set()
        assert "RoleName" not in json.dumps(stage.resources("AWS::IAM::Role"))


def test_data_readers_do_not_shut_out_the_role_of_the_other_account(tmp_path: Any) -> None:
    reader = f"arn:aws:iam::{TRAINER}:role/Science"
    stage = synthesise("dev", tmp_path, promote_to=f"{RECEIVER}/prod", data_readers=reader)
    (denied,) = statements_about(stage, "AWS::KMS::Key", containing="DenyOtherReaders")
    assert {ROLE, reader} < set(denied["Condition"]["ArnNotLike"]["aws:PrincipalArn"])


def test_one_role_reads_in_the_other_account_and_exactly_this(promoting: Synthesised) -> None:
    for theirs in (SOURCE_BUCKET, SOURCE_KEY, TRAINER):
        assert policies_with(promoting, theirs) == {"FunctionsPromoteModel"}
    there = [
        (action, resource, each.get("Condition"))
        for _, each in deployed(promoting).granted()
        for action in listed(each["Action"])
        for resource in listed(each["Resource"])
        if TRAINER in resource or SOURCE_BUCKET in resource
    ]
    versions = f"arn:<AWS::Partition>:sagemaker:<AWS::Region>:{TRAINER}:model-package/finetune-dev-*"
    assert sorted(there, key=str) == [
        ("kms:Decrypt", SOURCE_KEY, {"StringEquals": VIA_S3}),
        ("s3:GetObject", f"arn:aws:s3:::{SOURCE_BUCKET}/{RELEASES}", None),
        ("s3:GetObjectVersion", f"arn:aws:s3:::{SOURCE_BUCKET}/{MODELS}", None),
        ("sagemaker:DescribeModelPackage", versions, None),
    ]


def test_that_role_has_the_name_which_the_other_account_knows(promoting: Synthesised) -> None:
    named = [each["RoleName"] for each in deployed(promoting).of("AWS::IAM::Role").values() if "RoleName" in each]
    assert named == ["finetune-prod-promotion-<AWS::Region>"]
    (function,) = [
        each for each in deployed(promoting).of("AWS::Lambda::Function").values() if "PromoteModel" in each["Role"]
    ]
    assert function["Handler"] == "finetuning.handlers.promote_model.handler"


def test_the_network_lets_out_to_models_and_releases_of_the_other_bucket(promoting: Synthesised) -> None:
    (endpoint,) = [
        each
        for each in deployed(promoting).of("AWS::EC2::VPCEndpoint").values()
        if each["VpcEndpointType"] == "Gateway"
    ]
    (found,) = [each for each in endpoint["PolicyDocument"]["Statement"] if SOURCE_BUCKET in json.dumps(each)]
    assert found["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]
    assert found["Resource"] == [f"arn:aws:s3:::{SOURCE_BUCKET}/{key}" for key in (RELEASES, MODELS)]


def test_a_stage_that_does_not_train_has_no_permission_to(promoting: Synthesised, prod: Synthesised) -> None:
    assert policies_with(prod, "sagemaker:CreateTrainingJob") == {"FunctionsStartTraining"}
    assert policies_with(promoting, "sagemaker:CreateTrainingJob") == set()
    assert not [id for id, _ in deployed(promoting).granted("iam:PassRole") if "StartTraining" in id]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"promote_to": "prod"}, "promote_to"),
        ({"promote_to": "2222333344445/prod"}, "promote_to"),
        ({"promote_from": f"{TRAINER}/dev"}, "promote_from_bucket and promote_from_key is missing"),
        ({**PROMOTE_FROM, "promote_from_key": None}, "promote_from_key is missing"),
        ({**PROMOTE_FROM, "promote_from_key": SOURCE_KEY.replace(TRAINER, RECEIVER)}, f"no key of .* {TRAINER}"),
        ({**PROMOTE_FROM, "promote_from_bucket": "Models"}, "promote_from_bucket"),
    ],
)
def test_half_a_promotion_is_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        StageConfig.of("prod", settings)


def test_several_stages_of_other_accounts_may_be_named() -> None:
    config = StageConfig.of("dev", {"promote_to": f"{RECEIVER}/prod,333344445555/eu"})
    assert config.promotion_roles("us-east-1") == [
        f"arn:aws:iam::{RECEIVER}:role/finetune-prod-promotion-us-east-1",
        "arn:aws:iam::333344445555:role/finetune-eu-promotion-us-east-1",
    ]
    deployed_names = Settings.model_fields.keys() - StageSettings.model_fields.keys()
    environment = config.function_environment(dict.fromkeys(deployed_names, "x"))
    assert environment["PROMOTE_TO"] == f"{RECEIVER}/prod,333344445555/eu"
