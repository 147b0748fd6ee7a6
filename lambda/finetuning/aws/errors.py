"""Translates botocore's errors into typed ones, by what a user can do about them."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from finetuning.errors import Code, FineTuningError, NoCapacity, TransientAwsError
from finetuning.runs.outcomes import is_capacity_error

TRANSIENT = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConcurrentUpdateException",
        "ConditionalRequestConflict",
        "EC2ThrottledException",
        "InternalDependencyException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "InternalServiceError",
        "InternalServiceException",
        "KMSThrottling",
        "KmsThrottlingException",
        "ModelNotReadyException",
        "ModelTimeoutException",
        "NoSuchUpload",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        "500",
        "503",
    }
)
"""Error codes after which the same request may succeed, by botocore's list and the models of the services. Its
`LimitExceededException` is a quota in the services that are called here. An upload that S3 does not know may have been
completed by a request whose answer was lost: its step writes it again.
"""

QUOTA = frozenset({"ResourceLimitExceeded", "ServiceQuotaExceededException", "LimitExceededException"})
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
"""HTTP statuses: the second and all above it are errors of AWS."""

TRY_AGAIN = (
    "Usually temporary. Try again in a few minutes: `finetune submit --again RUN` repeats a failed run, "
    "`finetune deploy RUN` only its deployment."
)
"""The fix of a `TransientAwsError`. The state machine retries it before a user sees it."""


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def is_transient(error: ClientError) -> bool:
    """True if the same request may succeed later: by its code, or by its status if the code says nothing else. The
    answer to a HEAD request has no code but its status.
    """
    code, status = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code in TRANSIENT or (code not in QUOTA | DENIED and (status == TOO_MANY_REQUESTS or status >= SERVER_ERROR))


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Raises botocore's errors as `FineTuningError`. `action` says what was attempted: "create the model faq"."""
    try:
        yield
    except ClientError as error:
        code, reason = error_code(error), str(error.response.get("Error", {}).get("Message", error))
        if is_capacity_error(f"{code}: {reason}"):
            raise NoCapacity(f"No capacity in AWS: cannot {action}: {reason}") from error
        if is_transient(error):
            raise TransientAwsError(
                Code.AWS_UNAVAILABLE,
                f"AWS is temporarily unavailable: cannot {action}: {reason}",
                TRY_AGAIN,
            ) from error
        if code in QUOTA:
            raise FineTuningError(
                Code.QUOTA_EXCEEDED,
                f"Quota exceeded: cannot {action}: {reason}",
                "Request a higher quota in the Service Quotas console, or choose another instance type in run.json.",
            ) from error
        if code in DENIED:
            raise FineTuningError(
                Code.ACCESS_DENIED,
                f"Access denied: cannot {action}: {reason}",
                "Check that no policy of the organisation denies it. Deploying the stacks again restores the roles.",
            ) from error
        raise _invalid(action, f"{code}: {reason}") from error
    except ParamValidationError as error:
        raise _invalid(action, str(error)) from error
    except BotoCoreError as error:
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE,
            f"Cannot reach AWS to {action}: {error}",
            TRY_AGAIN,
        ) from error


def _invalid(action: str, reason: str) -> FineTuningError:
    return FineTuningError(
        Code.REQUEST_INVALID,
        f"AWS rejected the request: cannot {action}: {reason}",
        "Compare the message with the run's plan.json, and correct run.json.",
    )


@contextmanager
def denials(action: str) -> Iterator[None]:
    """Raises a denied call as `translate_errors` does, and every other error of AWS as it is.

    For callers that keep an error in place of an answer: no other call of the same kind would be allowed either.
    """
    try:
        yield
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        with translate_errors(action):
            raise
