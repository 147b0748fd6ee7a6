"""What Bedrock's control plane says of a judge before a run costs money."""

import socket
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from finetuning.aws.judge_access import check_access, is_reachable
from finetuning.errors import Code, Finding
from tests.builders.aws import FakeService, client_error

NOW = datetime(2026, 7, 1, tzinfo=UTC)
MODEL, PROFILE = "amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"
DETAILS = {
    "outputModalities": ["TEXT"],
    "inferenceTypesSupported": ["ON_DEMAND"],
    "modelLifecycle": {"status": "ACTIVE"},
}
AVAILABLE = {
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}


def bedrock(details: dict[str, Any] | None = None, available: dict[str, Any] | None = None) -> FakeService:
    service = FakeService()
    service.answers["get_foundation_model"] = {"modelDetails": DETAILS | (details or {})}
    service.answers["get_foundation_model_availability"] = AVAILABLE | (available or {})
    return service


def said(service: FakeService, judge: str = MODEL) -> list[Finding | str]:
    return list(check_access(service, judge, NOW))


def refusal(service: FakeService, judge: str = MODEL) -> str:
    (finding,) = said(service, judge)
    assert isinstance(finding, Finding)
    assert (finding.code, finding.field) == (Code.JUDGE_UNUSABLE, "evaluation.judge")
    return finding.message


def test_nothing_is_said_of_a_model_that_can_be_called() -> None:
    service = bedrock()
    assert said(service) == []
    assert service.requests("get_foundation_model") == [{"modelIdentifier": MODEL}]
    assert service.requests("get_inference_profile") == []


def test_a_profile_is_looked_up_with_its_model() -> None:
    service = bedrock({"inferenceTypesSupported": ["INFERENCE_PROFILE"]})
    assert said(service, PROFILE) == []
    assert service.requests("get_inference_profile") == [{"inferenceProfileIdentifier": PROFILE}]
    assert service.requests("get_foundation_model_availability") == [{"modelId": MODEL}]


@pytest.mark.parametrize("operation", ["get_foundation_model", "get_inference_profile"])
@pytest.mark.parametrize("code", ["ResourceNotFoundException", "ValidationException"])
def test_a_model_or_a_profile_that_bedrock_does_not_know_is_refused(operation: str, code: str) -> None:
    service = bedrock()
    service.refuse(operation, code, "The provided model identifier is invalid.")
    assert refusal(service, PROFILE).endswith(
        "cannot be asked: Bedrock does not know it in this region: The provided model identifier is invalid."
    )


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"outputModalities": ["EMBEDDING"]}, "it writes no text"),
        (
            {"inferenceTypesSupported": ["PROVISIONED"]},
            f"it is called by an inference profile only, such as us.{MODEL}",
        ),
        (
            {"modelLifecycle": {"status": "LEGACY", "endOfLifeTime": datetime(2026, 6, 30, tzinfo=UTC)}},
            "its life ended on 2026-06-30",
        ),
    ],
)
def test_a_model_that_cannot_judge_is_refused(details: dict[str, Any], reason: str) -> None:
    assert refusal(bedrock(details)) == f"The judge {MODEL} cannot be asked: {reason}."


@pytest.mark.parametrize(
    ("available", "reason"),
    [
        ({"regionAvailability": "NOT_AVAILABLE"}, "it is not available in this region"),
        ({"authorizationStatus": "NOT_AUTHORIZED"}, "this account is not authorised to use it"),
        ({"entitlementAvailability": "NOT_AVAILABLE"}, "this account has no access to it"),
        ({"agreementAvailability": {"status": "PENDING"}}, "its terms are not accepted (PENDING)"),
        (
            {"agreementAvailability": {"status": "ERROR", "errorMessage": "no payment method"}},
            "its terms are not accepted (no payment method)",
        ),
    ],
)
def test_a_model_that_the_account_has_no_access_to_is_refused(available: dict[str, Any], reason: str) -> None:
    assert refusal(bedrock(available=available)) == f"The judge {MODEL} cannot be asked: {reason}."


def test_a_legacy_model_is_a_warning_with_its_end() -> None:
    end = datetime(2026, 12, 1, tzinfo=UTC)
    (warning,) = said(bedrock({"modelLifecycle": {"status": "LEGACY", "endOfLifeTime": end}}))
    assert isinstance(warning, str)
    assert "legacy model, which AWS keeps until 2026-12-01" in warning


@pytest.mark.parametrize(
    "error", [client_error("AccessDeniedException"), EndpointConnectionError(endpoint_url="https://bedrock")]
)
def test_what_bedrock_does_not_tell_is_not_known(error: Exception) -> None:
    service = bedrock()
    service.answers["get_foundation_model"] = error
    assert said(service) == [str(error)]


def test_an_address_is_reachable_if_it_takes_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_reachable(SimpleNamespace(meta=SimpleNamespace(endpoint_url=f"http://127.0.0.1:{port}")))
    assert not is_reachable(SimpleNamespace(meta=SimpleNamespace(endpoint_url=f"http://127.0.0.1:{port}")))
