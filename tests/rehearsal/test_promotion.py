"""Two accounts: a model is trained in one and promoted to the other, which copies exactly that model and trains none.

A third account has a stage of the same name, and a role of the same name with every permission: it gets nothing.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.aws import model_files
from finetuning.aws.model_files import ModelFiles
from finetuning.runs.layout import RunLayout
from finetuning.runs.release import artefact_digest
from rehearsal import cdk, jumpstart_cache, running
from rehearsal.running import REGION, Emulator
from tests.rehearsal.support import direct_deployment
from tests.rehearsal.support.parts import LEAST_PART, upload_in_parts
from tests.rehearsal.support.product import Product, any_chats
from tests.rehearsal.support.stacks import WAIT_SCALE, any_name, any_person
from tests.rehearsal.support.terminal import Terminal

TRAINER, PROMOTER, STRANGER = "111122223333", "222233334444", "333344445555"
ROLE = f"finetune-prod-promotion-{REGION}"
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@dataclass(frozen=True)
class Accounts:
    """The stage `dev` of one account, `prod` of another, and the model that the first has trained."""

    dev: Product
    prod: Product
    stranger: Emulator
    run_id: str
    version: str
    """ARN of the model's version in the registry of `dev`."""
    scientist: Terminal
    operator: Terminal
    """People of `prod` with the policies of that name."""

    @property
    def registry(self) -> Any:
        return self.dev.emulator.client("sagemaker")

    def decide(self, status: str) -> None:
        """What the person who approves models in the account that trains does."""
        self.registry.update_model_package(ModelPackageArn=self.version, ModelApprovalStatus=status)

    def promote(self, *options: str) -> str:
        said = self.scientist.finetune("promote", self.version, "--stage", "prod", "--json", *options)
        assert said.code == 0, said.printed
        return str(said.json["run_id"])

    def refused(self, *options: str) -> dict[str, Any]:
        """The error with which the promotion ends."""
        status = self.prod.ended(self.promote(*options))
        assert status["state"] == "failed", status
        error: dict[str, Any] = status["error"]
        return error

    def asking(self, *options: str) -> str:
        """The id of a promotion that waits for the approval of `prod`."""
        run_id = self.promote(*options)
        self.prod.until(run_id, lambda status: status.get("step") == "ApproveDeployment" or status.get("error"))
        assert self.prod.status(run_id)["error"] is None
        return run_id

    def files(self, stage: Product, location: str) -> dict[str, bytes]:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        s3 = stage.emulator.client("s3")
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
        return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    @property
    def model_key(self) -> str:
        """Key of a file of the model in the bucket of `dev`."""
        listed = self.dev.emulator.client("s3").list_objects_v2(
            Bucket=self.dev.artifacts, Prefix=RunLayout(self.run_id).training_output
        )
        return next(str(each["Key"]) for each in listed["Contents"] if "/output/model/" in each["Key"])

    def read_by(self, role_arn: str, key: str, emulator: Emulator | None = None) -> bytes:
        """A file of `dev`, as the role reads it: of the model in the version that is there."""
        found = self.dev.emulator.client("s3").head_object(Bucket=self.dev.artifacts, Key=key)
        version = {"VersionId": found["VersionId"]} if "/output/model/" in key else {}
        s3 = (emulator or self.prod.emulator).client_of(role_arn, "s3")
        body: bytes = s3.get_object(Bucket=self.dev.artifacts, Key=key, **version)["Body"].read()
        return body


def refusal(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**request)
    return str(refused.value.response["Error"]["Code"])


def deploy(emulator: Emulator, context: list[str]) -> tuple[Product, dict[str, str]]:
    jumpstart_cache.fill(emulator)
    outputs = direct_deployment.deploy(emulator, cdk.synthesised(context))
    product = Product(emulator, outputs["UploadBucketName"], outputs["ArtifactsBucketName"], outputs["StateMachineArn"])
    return product, outputs


@pytest.fixture(scope="module")
def accounts(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    emulators = [
        running.start(tmp_path_factory.mktemp(number), tiny_model, wait_scale=WAIT_SCALE, account=number)
        for number in (TRAINER, PROMOTER, STRANGER)
    ]
    try:
        trainer, promoter, stranger = emulators
        promoter.know(trainer)
        stranger.know(trainer)
        dev, outputs = deploy(trainer, ["stage=dev", f"promote_to={PROMOTER}/prod"])
        settings = [word for word in outputs["PromotionSettings"].split() if word != "-c"]
        prod, there = deploy(promoter, ["stage=prod", "training=false", *settings])
        run_id = dev.submit(b"".join(any_chats()))
        status = dev.ended(run_id)
        assert status["state"] == "succeeded", status["error"]
        desk = tmp_path_factory.mktemp("desk")
        scientist, operator = (
            Terminal(promoter, desk, role=any_person(promoter, there[f"{policy}PolicyArn"]))
            for policy in ("DataScientist", "Operator")
        )
        yield Accounts(dev, prod, stranger, run_id, status["model_package"], scientist, operator)
    finally:
        for emulator in emulators:
            emulator.stop()


@pytest.fixture
def approved(accounts: Accounts) -> Iterator[Accounts]:
    """For the time of a test the model is approved where it was trained."""
    accounts.decide("Approved")
    yield accounts
    accounts.decide("PendingManualApproval")


@pytest.fixture(scope="module")
def role(accounts: Accounts) -> str:
    """ARN of the role that copies models."""
    return str(accounts.prod.emulator.client("iam").get_role(RoleName=ROLE)["Role"]["Arn"])


# What is refused by the product


def test_01_a_model_that_nobody_approved_is_refused(accounts: Accounts) -> None:
    error = accounts.refused()
    assert error["code"] == "PROMOTION_NOT_APPROVED"
    assert "it is PendingManualApproval" in error["message"]


def test_02_a_rejected_model_is_refused(accounts: Accounts) -> None:
    accounts.decide("Rejected")
    assert "it is Rejected" in accounts.refused()["message"]
    accounts.decide("PendingManualApproval")


def test_03_an_approval_that_is_withdrawn_while_prod_waits_ends_the_promotion(approved: Accounts) -> None:
    run_id = approved.asking()
    approved.decide("Rejected")
    assert approved.operator.finetune("approve", run_id, "--stage", "prod").code == 0
    assert approved.prod.ended(run_id)["error"]["code"] == "PROMOTION_NOT_APPROVED"

    assert approved.scientist.finetune("deploy", run_id, "--stage", "prod").code == 0
    approved.prod.until(run_id, lambda status: status.get("step") == "ApproveDeployment")
    assert approved.operator.finetune("approve", run_id, "--stage", "prod").code == 0
    assert approved.prod.ended(run_id)["error"]["code"] == "PROMOTION_NOT_APPROVED", "nor is its copy deployed"
    forget(approved, run_id)


def test_04_a_list_of_files_that_was_changed_after_the_approval_is_refused(approved: Accounts) -> None:
    s3, bucket, key = approved.dev.emulator.client("s3"), approved.dev.artifacts, RunLayout(approved.run_id).release
    kept = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=kept.replace(b'"size": ', b'"size":  '))
    assert approved.refused()["code"] == "PROMOTION_DIGEST_DIFFERS"
    s3.put_object(Bucket=bucket, Key=key, Body=kept)


@pytest.mark.parametrize(
    ("part", "other"),
    [(TRAINER, STRANGER), (REGION, "eu-west-1"), ("finetune-dev-", "finetune-test-")],
    ids=["another account", "another region", "another stage"],
)
def test_05_a_version_elsewhere_is_refused_before_anything_starts(accounts: Accounts, part: str, other: str) -> None:
    elsewhere = accounts.version.replace(part, other)
    said = accounts.scientist.finetune("promote", elsewhere, "--stage", "prod", "--json")
    assert (said.code, said.json["error"]["code"]) == (1, "PROMOTION_UNUSABLE")
    key = f"runs/{any_name('elsewhere')}/run.json"
    run_id = accounts.prod.put(key, json.dumps({"promote": elsewhere}).encode()).run_id
    assert accounts.prod.ended(run_id)["error"]["findings"][0]["code"] == "PROMOTION_UNUSABLE"


def test_06_data_is_refused_and_no_role_can_train(accounts: Accounts) -> None:
    run_id = accounts.prod.submit(b"".join(any_chats()))
    assert accounts.prod.ended(run_id)["error"]["findings"][0]["code"] == "TRAINING_DISABLED"
    granted = {each["action"] for each in accounts.prod.emulator.grants()}
    assert "sagemaker:CreateTrainingJob" not in granted
    assert "sagemaker:CreateModel" in granted


# What is refused by the policies of the two accounts


def test_07_the_role_reads_models_and_releases_and_no_other_file(accounts: Accounts, role: str) -> None:
    layout = RunLayout(accounts.run_id)
    assert accounts.read_by(role, accounts.model_key)
    assert accounts.read_by(role, layout.release)
    allow_everything(accounts.prod.emulator, ROLE)
    dataset = next(name for name in accounts.dev.channels(accounts.run_id))
    for key in (f"{layout.root}dataset/{dataset}", layout.status, layout.plan, layout.request, layout.dataset_report):
        assert refusal(accounts.read_by, role_arn=role, key=key) == "AccessDenied", key
    s3 = accounts.prod.emulator.client_of(role, "s3")
    assert refusal(s3.get_object, Bucket=accounts.dev.artifacts, Key=accounts.model_key) == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket=accounts.dev.artifacts) == "AccessDenied"
    assert refusal(s3.list_objects_v2, Bucket=accounts.dev.uploads) == "AccessDenied"
    only_its_own(accounts.prod.emulator, ROLE)


def test_08_the_role_writes_and_deletes_nothing(accounts: Accounts, role: str) -> None:
    allow_everything(accounts.prod.emulator, ROLE)
    s3, bucket, key = accounts.prod.emulator.client_of(role, "s3"), accounts.dev.artifacts, accounts.model_key
    assert refusal(s3.put_object, Bucket=bucket, Key=key, Body=b"x") == "AccessDenied"
    assert refusal(s3.delete_object, Bucket=bucket, Key=key) == "AccessDenied"
    assert refusal(s3.put_bucket_policy, Bucket=bucket, Policy=EVERYTHING) == "AccessDenied"
    only_its_own(accounts.prod.emulator, ROLE)


def test_09_other_roles_of_prod_read_nothing_whatever_their_account_allows(accounts: Accounts, role: str) -> None:
    iam = accounts.prod.emulator.client("iam")
    names = [each["RoleName"] for page in iam.get_paginator("list_roles").paginate() for each in page["Roles"]]
    chosen = [next(name for name in names if part in name) for part in ("PlanRun", "ExecutionRole", "DeployEndpoint")]
    for name in chosen:
        arn = role.replace(ROLE, name)
        assert refusal(accounts.read_by, role_arn=arn, key=accounts.model_key) == "AccessDenied"
        allow_everything(accounts.prod.emulator, name)
        assert refusal(accounts.read_by, role_arn=arn, key=accounts.model_key) == "AccessDenied"
        only_its_own(accounts.prod.emulator, name)


def test_10_a_third_account_is_refused_with_a_role_of_the_same_name(accounts: Accounts) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    created = accounts.stranger.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=document)
    allow_everything(accounts.stranger, ROLE)
    arn = created["Role"]["Arn"]
    for key in (accounts.model_key, RunLayout(accounts.run_id).release):
        assert refusal(accounts.read_by, role_arn=arn, key=key, emulator=accounts.stranger) == "AccessDenied"
    sagemaker = accounts.stranger.client_of(arn, "sagemaker")
    assert refusal(sagemaker.describe_model_package, ModelPackageName=accounts.version) == "AccessDeniedException"


def test_11_the_key_decrypts_through_s3_alone(accounts: Accounts, role: str) -> None:
    key = key_of(accounts.dev)
    blob = accounts.dev.emulator.client("kms").encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    allow_everything(accounts.prod.emulator, ROLE)
    kms = accounts.prod.emulator.client_of(role, "kms")
    assert refusal(kms.decrypt, KeyId=key, CiphertextBlob=blob) == "AccessDeniedException"
    assert refusal(kms.generate_data_key, KeyId=key, KeySpec="AES_256") == "AccessDeniedException"
    only_its_own(accounts.prod.emulator, ROLE)


def test_12_the_role_approves_nothing_in_the_other_account(accounts: Accounts, role: str) -> None:
    sagemaker = accounts.prod.emulator.client_of(role, "sagemaker")
    described = sagemaker.describe_model_package(ModelPackageName=accounts.version)
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    allow_everything(accounts.prod.emulator, ROLE)
    approve = {"ModelPackageArn": accounts.version, "ModelApprovalStatus": "Approved"}
    assert refusal(sagemaker.update_model_package, **approve) == "AccessDeniedException"
    assert refusal(sagemaker.delete_model_package, ModelPackageName=accounts.version) == "AccessDeniedException"
    only_its_own(accounts.prod.emulator, ROLE)


# What is promoted


def test_13_the_approved_model_serves_in_prod_though_the_function_that_copies_it_is_killed(
    approved: Accounts,
) -> None:
    before = approved.prod.emulator.denials()
    replaced = approved.model_key
    s3, bucket = approved.dev.emulator.client("s3"), approved.dev.artifacts
    trained = approved.files(approved.dev, approved.dev.status(approved.run_id)["model_artifact"])
    s3.put_object(Bucket=bucket, Key=replaced, Body=b"another model, after the approval")

    killed = approved.prod.function("promote_model")
    for change in (1, 4):
        approved.prod.emulator.inject("function-killed", match=killed, after=change)

    run_id = approved.asking("--endpoint", "pirate")
    assert [each["match"] for each in approved.prod.emulator.happened()].count(killed) == 2
    assert approved.prod.emulator.costing() == [], "nothing is deployed before prod's own approval"
    assert approved.operator.finetune("approve", run_id, "--stage", "prod").code == 0
    status = approved.prod.ended(run_id)

    assert status["state"] == "succeeded", status["error"]
    assert approved.files(approved.prod, status["model_artifact"]) == trained
    there = approved.registry.describe_model_package(ModelPackageName=approved.version)
    here = approved.prod.emulator.client("sagemaker").describe_model_package(ModelPackageName=status["model_package"])
    digests = [each["CustomerMetadataProperties"]["artefact-digest"] for each in (there, here)]
    assert digests[0] == digests[1] != ""
    assert here["CustomerMetadataProperties"]["promoted-from"] == approved.version
    assert status["model_package"].split(":")[4] == PROMOTER
    (endpoint,) = approved.prod.emulator.costing()
    assert (endpoint["name"], endpoint["owner"]) == ("finetune-prod-pirate", run_id)
    asked = approved.scientist.finetune("ask", "pirate", "What is 2 and 2?", "--stage", "prod")
    assert (asked.code, bool(asked.printed.strip())) == (0, True)
    assert approved.prod.jobs_of(run_id) == {}
    assert approved.prod.emulator.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    assert approved.prod.emulator.denials() == before, "the role needs no more than it has"

    again = approved.refused("--endpoint", "pirate")
    assert again["code"] == "ALREADY_PROMOTED"
    assert f"finetune deploy {run_id} --stage prod" in again["fix"]


def test_14_a_promoted_model_is_not_deployed_again_without_an_approval(approved: Accounts) -> None:
    (endpoint,) = approved.prod.emulator.costing()
    run_id = str(endpoint["owner"])
    said = approved.scientist.finetune("deploy", run_id, "--stage", "prod")
    assert said.code == 0, said.printed
    approved.prod.until(run_id, lambda status: status.get("step") == "ApproveDeployment")
    assert approved.operator.finetune("reject", run_id, "--stage", "prod").code == 0
    assert approved.prod.ended(run_id)["error"]["code"] == "APPROVAL_REJECTED"


def test_15_nothing_is_granted_for_promotions_that_they_do_not_need(accounts: Accounts) -> None:
    """After a promotion: what one account allows the role in the other, and what a release takes."""
    there = [each for each in accounts.prod.emulator.grants() if each["role"] == ROLE]
    foreign = [each for each in there if accounts.dev.artifacts in each["resource"] or TRAINER in each["resource"]]
    released = [
        each
        for each in accounts.dev.emulator.grants()
        if "RegisterModel" in each["role"]
        and (each["resource"].endswith(("/output/model/*", "/release.json")) or "Policy" in each["action"])
    ]
    assert {each["action"] for each in foreign} == {
        *("sagemaker:DescribeModelPackage", "s3:GetObject", "s3:GetObjectVersion", "kms:Decrypt")
    }
    assert {each["action"] for each in released} == {
        *("s3:GetObject", "s3:PutObject", "sagemaker:PutModelPackageGroupPolicy")
    }
    assert [each for each in (*foreign, *released) if not each["used"]] == []


def test_16_a_file_too_large_for_one_copy_is_copied_in_parts(
    accounts: Accounts, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every file of weights on AWS. A part is scaled down to the least that S3 takes."""
    output = RunLayout(accounts.run_id).training_output
    there, here = f"s3://{accounts.dev.artifacts}/{output}", f"s3://{accounts.prod.artifacts}/{output}"
    name = f"{accounts.dev.status(accounts.run_id)['training_job']}/output/model/large.safetensors"
    weights = random.Random(16).randbytes(2 * LEAST_PART + 1000)
    dev, prod = (product.emulator.client("s3") for product in (accounts.dev, accounts.prod))
    upload_in_parts(dev, accounts.dev.artifacts, f"{output}{name}", weights)
    monkeypatch.setattr(model_files, "client", lambda _: dev)
    (file,) = [each for each in ModelFiles(there).described() if each.name == name]

    monkeypatch.setattr(model_files, "MAX_COPY_BYTES", LEAST_PART)
    monkeypatch.setattr(model_files, "client", lambda _: accounts.prod.emulator.client_of(role, "s3"))
    before = accounts.prod.emulator.denials()
    ModelFiles(here).copy_from(there, [file], key_of(accounts.prod))
    (copied,) = [each for each in ModelFiles(here).described() if each.name == name]

    assert accounts.files(accounts.prod, f"{here}{name}") == {"": weights}
    assert artefact_digest([copied]) == artefact_digest([file]) != ""
    assert prod.head_object(Bucket=accounts.prod.artifacts, Key=f"{output}{name}")["ETag"].endswith('-3"')
    assert accounts.prod.emulator.denials() == before, "the role needs no more than it has"


def key_of(stage: Product) -> str:
    """ARN of the key that encrypts the stage's files."""
    described = stage.emulator.client("s3").get_bucket_encryption(Bucket=stage.artifacts)
    (rule,) = described["ServerSideEncryptionConfiguration"]["Rules"]
    return str(rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def allow_everything(emulator: Emulator, role: str) -> None:
    """What its own account can give a role: what it may not do then, the other account refuses."""
    emulator.client("iam").put_role_policy(RoleName=role, PolicyName="everything", PolicyDocument=EVERYTHING)


def only_its_own(emulator: Emulator, role: str) -> None:
    emulator.client("iam").delete_role_policy(RoleName=role, PolicyName="everything")


def forget(accounts: Accounts, run_id: str) -> None:
    """Deletes the copy of a promotion, so that another one is not the second."""
    s3, prefix = accounts.prod.emulator.client("s3"), RunLayout(run_id).training_output
    for each in s3.list_objects_v2(Bucket=accounts.prod.artifacts, Prefix=prefix)["Contents"]:
        s3.delete_object(Bucket=accounts.prod.artifacts, Key=each["Key"])
