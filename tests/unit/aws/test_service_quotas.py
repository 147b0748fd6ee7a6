"""Quotas and the instances in use, from answers of the form the service documents."""

import boto3
import pytest
from botocore.stub import Stubber

from finetuning.aws.service_quotas import QUOTA_NAMES, Quotas, Use
from finetuning.errors import Finding
from finetuning.jumpstart.target import VARIANT
from tests.builders.aws import FakeSageMaker, FakeService

REGION = "eu-west-1"
G5 = "ml.g5.12xlarge"
AS_NOBODY = {"region_name": REGION, "aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}


def any_quotas(value: float, name: str, running: int = 0) -> Quotas:
    """An account whose one quota is `value`, with that many instances at work."""
    service_quotas, sagemaker = boto3.client("service-quotas", **AS_NOBODY), boto3.client("sagemaker", **AS_NOBODY)
    quota = {"QuotaCode": "L-ABCD1234", "QuotaName": name, "Value": value, "ServiceCode": "sagemaker"}
    stubbed = Stubber(service_quotas)
    stubbed.add_response("list_service_quotas", {"Quotas": [quota]}, {"ServiceCode": "sagemaker"})
    stubbed.activate()
    at_work = Stubber(sagemaker)
    summary = {
        "TrainingJobName": "j",
        "TrainingJobArn": "arn:" + "x" * 20,
        "CreationTime": 0,
        "TrainingJobStatus": "InProgress",
    }
    jobs = [{**summary, "TrainingJobName": f"job-{number}"} for number in range(running)]
    at_work.add_response(
        "list_training_jobs", {"TrainingJobSummaries": jobs}, {"StatusEquals": "InProgress", "MaxResults": 100}
    )
    for job in jobs:
        described = {
            **summary,
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b"},
            "SecondaryStatus": "Training",
            "AlgorithmSpecification": {"TrainingInputMode": "File"},
            "StoppingCondition": {},
            "ResourceConfig": {"InstanceType": G5, "InstanceCount": 1},
        }
        at_work.add_response("describe_training_job", described, {"TrainingJobName": job["TrainingJobName"]})
    at_work.activate()
    return Quotas(service_quotas, sagemaker, REGION)


def account(sagemaker: FakeSageMaker, **values: float) -> Quotas:
    """An account whose quotas of `G5` are `values`, by use."""
    service_quotas = FakeService()
    quotas = [
        {"QuotaCode": "L-ABCD1234", "QuotaName": QUOTA_NAMES[use].format(G5), "Value": values[use]}
        for use in QUOTA_NAMES
        if use in values
    ]
    service_quotas.answers["list_service_quotas"] = {"Quotas": quotas}
    return Quotas(service_quotas, sagemaker, REGION)


def add_endpoint(sagemaker: FakeSageMaker, name: str, instances: int = 1, status: str = "InService") -> None:
    sagemaker.add_endpoint(name, name, status=status, instances=instances)
    variant = sagemaker.things["endpoint_config"][name]["ProductionVariants"][0]
    variant |= {"VariantName": VARIANT, "InstanceType": G5, "InitialInstanceCount": 1}


def any_group(instance_type: str, count: int) -> dict[str, object]:
    """Of a job on a heterogeneous cluster."""
    return {"InstanceType": instance_type, "InstanceCount": count, "InstanceGroupName": instance_type.replace(".", "-")}


@pytest.mark.parametrize(
    ("resources", "fits"),
    [
        ({"InstancePreferences": [{"InstanceType": "ml.g5.48xlarge"}, {"InstanceType": G5}]}, False),
        ({"InstancePreferences": [{"InstanceType": G5}], "SelectedInstanceType": G5}, False),
        ({"InstancePreferences": [{"InstanceType": G5}], "SelectedInstanceType": "ml.g5.48xlarge"}, True),
    ],
)
def test_a_job_that_may_take_several_types_counts_for_each_until_one_is_selected(
    resources: dict[str, object], fits: bool
) -> None:
    sagemaker = FakeSageMaker()
    sagemaker.add_job("job", ResourceConfig={**resources, "InstanceCount": 1})
    verdict = account(sagemaker, training=1).check(G5, "training", 1, "")
    assert (verdict is None) is fits


@pytest.mark.parametrize(
    ("described", "in_use"),
    [
        ({}, 0),  # a serverless job, ServerlessJobConfig, has no ResourceConfig
        ({"EnableManagedSpotTraining": True, "ResourceConfig": {"InstanceType": G5, "InstanceCount": 1}}, 0),
        ({"ResourceConfig": {"InstancePreferences": [{"InstanceType": G5, "InstanceCount": 4}]}}, 4),
        (
            {"ResourceConfig": {"InstanceGroups": [any_group(G5, 2), any_group("ml.c5.4xlarge", 1), any_group(G5, 1)]}},
            3,
        ),
        ({"ResourceConfig": {"SelectedInstanceType": G5, "SelectedInstanceCount": 2, "InstanceCount": 1}}, 2),
    ],
)
def test_jobs_of_other_kinds_in_the_account_are_counted_by_what_they_hold(
    described: dict[str, object], in_use: int
) -> None:
    sagemaker = FakeSageMaker()
    sagemaker.add_job("theirs", run_id=None, **described)
    assert account(sagemaker, training=in_use + 1).check(G5, "training", 1, "") is None
    refused = account(sagemaker, training=in_use + 0.5).check(G5, "training", 1, "")
    assert isinstance(refused, Finding)
    assert f"{in_use} in use, 1 needed" in refused.message


def test_a_shadow_variant_holds_instances_as_well() -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "tested")
    shadow = {"VariantName": "shadow", "InstanceType": G5, "InitialInstanceCount": 2}
    sagemaker.things["endpoint_config"]["tested"]["ShadowProductionVariants"] = [shadow]
    assert account(sagemaker, endpoint=4).check(G5, "endpoint", 1, "") is None
    assert isinstance(account(sagemaker, endpoint=3).check(G5, "endpoint", 1, ""), Finding)


@pytest.mark.parametrize(("use", "named"), [("training", "training jobs"), ("endpoint", "endpoints")])
def test_that_not_all_jobs_or_endpoints_were_counted_is_said(use: Use, named: str) -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "newest")
    sagemaker.add_job("newest", ResourceConfig={"InstanceType": G5, "InstanceCount": 1})
    for operation, noun, field in (
        ("list_endpoints", "EndpointName", "Endpoints"),
        ("list_training_jobs", "TrainingJobName", "TrainingJobSummaries"),
    ):
        sagemaker.answers[operation] = {field: [{noun: "newest"}], "NextToken": "more"}  # pragma: allowlist secret
    assert account(sagemaker, **{use: 2}).check(G5, use, 1, "") == (
        f"sufficient beside the newest 100 {named}; the others were not counted"
    )
    assert isinstance(account(sagemaker, **{use: 1}).check(G5, use, 1, ""), Finding)


def test_an_endpoint_without_a_configuration_does_not_hide_the_others() -> None:
    sagemaker = FakeSageMaker()
    for name in ("bare", "other"):
        add_endpoint(sagemaker, name)
    del sagemaker.things["endpoint_config"]["bare"]
    assert isinstance(account(sagemaker, endpoint=1).check(G5, "endpoint", 1, ""), Finding)
    assert account(sagemaker, endpoint=2).check(G5, "endpoint", 1, "") == (
        "sufficient unless the endpoint bare, whose configuration is gone, uses this type"
    )


def test_an_endpoint_that_is_gone_by_now_is_not_counted() -> None:
    sagemaker = FakeSageMaker()
    sagemaker.answers["list_endpoints"] = {"Endpoints": [{"EndpointName": "gone"}]}
    assert account(sagemaker, endpoint=1).check(G5, "endpoint", 1, "") is None


def test_an_error_of_sagemaker_is_said() -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "other")
    sagemaker.refuse("describe_endpoint", "ThrottlingException")
    verdict = account(sagemaker, endpoint=1).check(G5, "endpoint", 1, "")
    assert isinstance(verdict, str)
    assert "ThrottlingException" in verdict


def test_failed_endpoints_alone_do_not_refuse_a_run() -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "broken", status="Failed")
    assert account(sagemaker, endpoint=1).check(G5, "endpoint", 1, "") == (
        "sufficient only if endpoints that failed do not count; delete them: broken"
    )
    assert isinstance(account(sagemaker, endpoint=1).check(G5, "endpoint", 2, ""), Finding)


def test_an_endpoint_counts_as_many_instances_as_it_has_grown_to() -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "busy", instances=3)
    assert isinstance(account(sagemaker, endpoint=3).check(G5, "endpoint", 1, ""), Finding)
    assert account(sagemaker, endpoint=4).check(G5, "endpoint", 1, "") is None


@pytest.mark.parametrize(
    ("served", "fits"), [([], False), ([(G5, 1)], False), ([("ml.g5.48xlarge", 1), (G5, 0)], True)]
)
def test_an_endpoint_with_pools_counts_for_the_type_it_got_or_for_each_until_it_serves(
    served: list[tuple[str, int]], fits: bool
) -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "pooled")
    config = sagemaker.things["endpoint_config"]["pooled"]["ProductionVariants"][0]
    config["InstancePools"] = [{"InstanceType": G5}, {"InstanceType": "ml.g5.48xlarge"}]
    sagemaker.endpoint("pooled")["ProductionVariants"][0]["InstancePools"] = [
        {"InstanceType": each, "CurrentInstanceCount": count} for each, count in served
    ]
    assert (account(sagemaker, endpoint=1).check(G5, "endpoint", 1, "") is None) is fits


@pytest.mark.parametrize(("at_first", "then", "needed"), [(1, 2, 2), (2, 1, 3), (1, 4, 4)])
def test_the_endpoint_that_is_replaced_stands_beside_the_new_one_and_then_is_gone(
    at_first: int, then: int, needed: int
) -> None:
    sagemaker = FakeSageMaker()
    add_endpoint(sagemaker, "live")

    def check(quota: int) -> Finding | str | None:
        return account(sagemaker, endpoint=quota).check(G5, "endpoint", at_first, "", then=then, replaced="live")

    assert check(needed) is None
    assert isinstance(refused := check(needed - 1), Finding)
    in_use = 1 if needed == at_first + 1 else 0
    assert f"is {needed - 1}, {in_use} in use, {needed - in_use} needed." in refused.message


TRAINING = f"{G5} for training job usage"


@pytest.mark.parametrize(("value", "running"), [(0, 0), (1, 1), (2, 2)])
def test_a_quota_of_none_or_used_up_is_a_finding_with_code_and_link(value: int, running: int) -> None:
    verdict = any_quotas(value, TRAINING, running).check(G5, "training", 1, "training.instance_type")
    assert isinstance(verdict, Finding)
    assert (verdict.code, verdict.field) == ("QUOTA_EXCEEDED", "training.instance_type")
    assert "L-ABCD1234" in verdict.message
    assert (
        f"https://{REGION}.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/L-ABCD1234"
        in verdict.fix
    )


def test_a_quota_with_room_is_none() -> None:
    assert any_quotas(2, TRAINING, running=1).check(G5, "training", 1, "") is None


@pytest.mark.parametrize("use", ["training", "endpoint"])
def test_an_unknown_quota_is_said_not_guessed(use: Use) -> None:
    verdict = any_quotas(1, "something else").check(G5, use, 1, "")
    assert isinstance(verdict, str)
    assert G5 in verdict


def test_a_service_that_does_not_answer_is_asked_once() -> None:
    """Each question may take seconds in a network that does not reach the service."""
    service_quotas = FakeService()
    service_quotas.refuse("list_service_quotas", "AccessDeniedException")
    quotas = Quotas(service_quotas, FakeSageMaker(), REGION)
    said = [quotas.check(each, use, 1, "") for each in (G5, "ml.p5.48xlarge") for use in QUOTA_NAMES]
    assert all(isinstance(verdict, str) and "AccessDenied" in verdict for verdict in said)
    assert len(service_quotas.calls) == 1


def test_a_silent_service_is_said() -> None:
    service_quotas = boto3.client("service-quotas", **AS_NOBODY)
    stubbed = Stubber(service_quotas)
    stubbed.add_client_error("list_service_quotas", "AccessDeniedException")
    stubbed.activate()
    verdict = Quotas(service_quotas, boto3.client("sagemaker", **AS_NOBODY), REGION).check(G5, "training", 1, "")
    assert isinstance(verdict, str)
    assert "AccessDenied" in verdict


@pytest.mark.parametrize(
    ("quotas", "concurrency"), [([("Concurrent executions", 1000.0)], 1000), ([("Something else", 5.0)], 10)]
)
def test_lambdas_concurrency_is_read_or_assumed_to_be_a_new_accounts(
    quotas: list[tuple[str, float]], concurrency: int
) -> None:
    service_quotas = boto3.client("service-quotas", **AS_NOBODY)
    stubbed = Stubber(service_quotas)
    listed = [{"QuotaCode": "L-1", "QuotaName": name, "Value": value} for name, value in quotas]
    stubbed.add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "lambda"})
    stubbed.add_client_error("list_service_quotas", "TooManyRequestsException")
    stubbed.activate()
    account = Quotas(service_quotas, None, REGION)
    assert account.lambda_concurrency() == concurrency
    assert account.lambda_concurrency() == 10  # the service does not answer
