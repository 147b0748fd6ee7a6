"""AWS's failures, told to whoever sits at the terminal, who can do other things about them than the workflow."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
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
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    NoRegionError,
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
"""Error codes for credentials that are none or no longer valid: of AWS's common errors, S3's and EC2's."""


def to_cli_error(error: FineTuningError | BotoCoreError | ClientError) -> FineTuningError:
    """The failure with what a person can do: sign in, ask for a permission, look at the network. Others stay as they
    are, and so does what is said of them.
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
    if refused or isinstance(cause, NOT_SIGNED_IN):
        return FineTuningError(
            Code.AWS_NOT_CONFIGURED,
            f"AWS cannot be asked: {cause}",
            "Sign in (`aws sso login`, or `aws configure`), or set AWS_PROFILE and AWS_REGION. "
            "For a rehearsal set AWS_ENDPOINT_URL and the credentials it printed.",
        )
    if error.code == Code.ACCESS_DENIED and isinstance(cause, ClientError):
        fix = f"Ask whoever manages the account to allow {cause.operation_name}, or use another AWS_PROFILE."
        return FineTuningError(error.code, error.message, fix)
    if error.code == Code.AWS_UNAVAILABLE:
        fix = "Check the network, the region and AWS_ENDPOINT_URL, and try again."
        return FineTuningError(error.code, error.message, fix)
    return error


@contextmanager
def cli_errors(action: str) -> Iterator[None]:
    """`translate_errors`, for a person."""
    try:
        with translate_errors(action):
            yield
    except FineTuningError as error:
        raise to_cli_error(error) from error.__cause__


def require_sign_in(region: str) -> None:
    """Raises `FineTuningError` where AWS cannot be asked at all, which every later answer would say again.

    GetCallerIdentity needs no permission.
    """
    with cli_errors("ask who you are"):
        advisory_client("sts", region).get_caller_identity()
