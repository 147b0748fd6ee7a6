"""The clients of a process: one each, and how patient they are."""

import io
import json
from typing import Any

import pytest
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3 import HTTPResponse

from finetuning.aws.clients import advisory_client, client


def test_a_client_is_created_once(aws: None) -> None:
    assert client("sagemaker") is client("sagemaker")


@pytest.mark.parametrize(("service", "attempts"), [("sagemaker", 5), ("s3", 5), ("sagemaker-runtime", 1)])
def test_an_endpoint_is_asked_once_and_everything_else_is_retried(aws: None, service: str, attempts: int) -> None:
    assert client(service).meta.config.retries["total_max_attempts"] == attempts


def test_an_endpoint_is_waited_for_longer_than_sagemaker_gives_its_container(aws: None) -> None:
    assert client("sagemaker-runtime").meta.config.read_timeout > 60


def test_a_service_that_only_advises_is_given_up_soon(aws: None) -> None:
    advisory_client.cache_clear()
    config = advisory_client("pricing", "us-east-1").meta.config
    assert (config.connect_timeout, config.retries["total_max_attempts"]) == (2, 1)


@pytest.mark.parametrize(
    ("service", "operation", "listed"),
    [("service-quotas", "ListServiceQuotas", "Quotas"), ("sagemaker", "ListEndpoints", "Endpoints")],
)
def test_a_throttled_question_about_quotas_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, service: str, operation: str, listed: str
) -> None:
    """SageMaker's quotas are twenty pages. A run whose quotas are not known is trained, and paid, before it fails."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr("time.sleep", lambda _: None)
    advisory_client.cache_clear()
    api = advisory_client(service, "us-east-1")
    answers = iter([(400, {"__type": "ThrottlingException"}), (429, {"__type": "TooManyRequestsException"})])

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, body = next(answers, (200, {listed: []}))
        raw = HTTPResponse(io.BytesIO(json.dumps(body).encode()), preload_content=False)
        return AWSResponse(request.url, status, {}, raw)

    api.meta.events.register("before-send", answer)
    asked = {"ServiceCode": "sagemaker"} if service == "service-quotas" else {}
    (page,) = api.get_paginator(xform_name(operation)).paginate(**asked)
    assert page[listed] == []
    advisory_client.cache_clear()


def test_s3_signs_links_with_version_4_for_the_buckets_own_host(aws: None) -> None:
    assert client("s3").meta.config.signature_version == "s3v4"
    assert client("s3").meta.config.s3["addressing_style"] == "virtual"
