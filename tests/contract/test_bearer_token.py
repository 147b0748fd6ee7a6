"""The bearer token is the one that the SageMaker SDK makes of the same credentials at the same time."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import botocore.auth
import pytest
from botocore.credentials import ReadOnlyCredentials

from finetuning_cli.stage.bearer_token import signed_token

NOW = datetime(2026, 11, 27, 13, 30, tzinfo=UTC)
OF_A_USER = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
OF_A_ROLE = ReadOnlyCredentials("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "F+w/o= tok&en")


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: NOW.replace(tzinfo=None))


@pytest.mark.parametrize("credentials", [OF_A_USER, OF_A_ROLE])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.parametrize("seconds", [1, 3_600, 43_200])
def test_the_token_is_the_sdk_s_byte_for_byte(credentials: ReadOnlyCredentials, region: str, seconds: int) -> None:
    from sagemaker.core.token_generator.token_generator import _generate_token

    assert signed_token(credentials, region, timedelta(seconds=seconds)) == _generate_token(
        credentials, region, seconds
    )


def test_the_token_is_a_signed_url_of_the_action() -> None:
    token = signed_token(OF_A_ROLE, "us-east-1", timedelta(hours=1))
    address, _, query = base64.b64decode(token.removeprefix("sagemaker-api-key-")).decode().partition("?")
    assert address == "sagemaker.amazonaws.com/"
    named = {name: value for name, [value] in parse_qs(query).items()}
    assert named.pop("X-Amz-Signature")
    assert named == {
        "Action": "CallWithBearerToken",
        "Version": "1",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        # pragma: allowlist nextline secret
        "X-Amz-Credential": "ASIAIOSFODNN7EXAMPLE/20261127/us-east-1/sagemaker/aws4_request",
        "X-Amz-Date": "20261127T133000Z",
        "X-Amz-Expires": "3600",
        # pragma: allowlist nextline secret
        "X-Amz-Security-Token": "F+w/o= tok&en",
        "X-Amz-SignedHeaders": "host",
    }
