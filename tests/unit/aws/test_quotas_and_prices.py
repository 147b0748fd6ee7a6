"""Quotas and prices, from answers of the forms the services document."""

import json
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from finetuning.aws.pricing import PriceList
from finetuning.aws.service_quotas import Quotas, Use
from finetuning.errors import Finding

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


def test_a_silent_service_is_said() -> None:
    service_quotas = boto3.client("service-quotas", **AS_NOBODY)
    stubbed = Stubber(service_quotas)
    stubbed.add_client_error("list_service_quotas", "AccessDeniedException")
    stubbed.activate()
    verdict = Quotas(service_quotas, boto3.client("sagemaker", **AS_NOBODY), REGION).check(G5, "training", 1, "")
    assert isinstance(verdict, str)
    assert "AccessDenied" in verdict


def product(usd: str, unit: str = "Hrs") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    return json.dumps({"product": {}, "terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}}})


def any_price_list(products: list[str] | None) -> PriceList:
    """A price list that answers with these products; None: that refuses."""
    pricing: Any = boto3.client("pricing", **AS_NOBODY)
    stubbed = Stubber(pricing)
    if products is None:
        stubbed.add_client_error("get_products", "AccessDeniedException")
    else:
        stubbed.add_response(
            "get_products", {"PriceList": products}, {"ServiceCode": "AmazonSageMaker", "Filters": ANY}
        )
    stubbed.activate()
    return PriceList(pricing, REGION)


def test_the_listed_price_wins_and_says_where_it_is_from() -> None:
    price = any_price_list([product("7.911"), product("0.0"), product("3", "GB")]).price(G5, "training")
    assert price is not None
    assert (price.usd_per_hour, price.source) == (7.911, "Price List API, eu-west-1")


@pytest.mark.parametrize("products", [None, []])
def test_without_a_listed_price_the_dated_table_answers_and_says_so(products: list[str] | None) -> None:
    price = any_price_list(products).price(G5, "training")
    assert price is not None
    assert price.usd_per_hour == 7.09
    assert "assumed: table of 2026-11-23" in price.source


def test_a_list_that_was_silent_once_is_not_asked_again() -> None:
    prices = any_price_list(None)
    assert prices.price(G5, "training")
    assert prices.price("ml.g5.48xlarge", "hosting")
    assert prices.price("ml.unknown.xlarge", "training") is None
