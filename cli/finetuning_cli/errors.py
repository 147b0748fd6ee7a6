"""AWS's errors with the fixes that a person at a terminal has, which differ from the workflow's."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    InvalidConfigError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from finetuning.aws.clients import advisory_client
from finetuning.aws.errors import error_code, translate_errors
from finetuning.errors import Code, FineTuningError

NOT_SIGNED_IN = (
    ConfigParseError,
    InvalidConfigError,
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    LoginError,
    NoAuthTokenError,
    TokenRetrievalError,
)
REFUSED_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
"""Error codes for invalid or expired credentials: from AWS's common errors, S3's and EC2's."""


def to_cli_error(error: FineTuningError | BotoCoreError | ClientError) -> FineTuningError:
    """The error with a fix for a person: sign in, set a region, ask for a permission, check the network.

    Any other error is returned unchanged.
    """
    if not isinstance(error, FineTuningError):
        try:
            with translate_errors("answer"):
                raise error
        except FineTuningError as typed:
            error = typed
    if error.code not in (Code.ACCESS_DENIED, Code.AWS_UNAVAILABLE, Code.REQUEST_INVALID):
        return error
    cause = error.__cause__
    refused = isinstance(cause, ClientError) and error_code(cause) in REFUSED_CREDENTIALS
    if isinstance(cause, NoRegionError):
        return FineTuningError(Code.AWS_NOT_CONFIGURED, "No AWS region is set.", "Use --region, or set AWS_REGION.")
    if refused or isinstance(cause, NOT_SIGNED_IN):
        message = f"AWS rejected the credentials: {cause}" if refused else f"Not signed in to AWS: {cause}"
        return FineTuningError(
            Code.AWS_NOT_CONFIGURED,
            message,
            "Sign in (`aws sso login` or `aws configure`), or set AWS_PROFILE. "
            "For a rehearsal, set AWS_ENDPOINT_URL and the credentials it printed.",
        )
    if error.code == Code.ACCESS_DENIED and isinstance(cause, ClientError):
        fix = f"Ask the account administrator to allow {cause.operation_name}, or use another AWS_PROFILE."
        return FineTuningError(error.code, error.message, fix)
    if error.code == Code.AWS_UNAVAILABLE:
        fix = "Check the network, AWS_REGION and AWS_ENDPOINT_URL, and try again."
        return FineTuningError(error.code, error.message, fix)
    return error


@contextmanager
def cli_errors(action: str) -> Iterator[None]:
    """`translate_errors`, then `to_cli_error`."""
    try:
        with translate_errors(action):
            yield
    except FineTuningError as error:
        raise to_cli_error(error) from error.__cause__


def require_sign_in(region: str) -> None:
    """Raises `FineTuningError` if there are no valid credentials, so that this is reported once and not by every check.

    GetCallerIdentity needs no permission.
    """
    with cli_errors("identify the caller"):
        advisory_client("sts", region).get_caller_identity()
