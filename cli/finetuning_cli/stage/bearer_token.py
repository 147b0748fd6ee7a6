"""Bearer tokens, with which OpenAI's clients call an endpoint."""

import base64
from datetime import timedelta

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

_HOST = "sagemaker.amazonaws.com"
_PREFIX = "sagemaker-api-key-"


def bearer_token(region: str, lifetime: timedelta) -> str:
    """A token of whoever runs the command; made here, without a call to AWS. `lifetime`: 1 second to 12 hours.

    It ends earlier if the credentials that sign it do. Raises `NoCredentialsError`.
    """
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise NoCredentialsError()
    return signed_token(credentials.get_frozen_credentials(), region, lifetime)


def signed_token(credentials: ReadOnlyCredentials, region: str, lifetime: timedelta) -> str:
    """The signed URL of CallWithBearerToken, as `sagemaker.core.token_generator` writes it, whose import takes seconds.

    `tests/contract/test_bearer_token.py` compares the two.
    """
    request = AWSRequest("POST", f"https://{_HOST}/", {"host": _HOST}, params={"Action": "CallWithBearerToken"})
    SigV4QueryAuth(credentials, "sagemaker", region, expires=int(lifetime.total_seconds())).add_auth(request)
    signed = request.url.removeprefix("https://") + "&Version=1"
    return _PREFIX + base64.b64encode(signed.encode()).decode()
