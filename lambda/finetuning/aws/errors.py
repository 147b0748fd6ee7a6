"""Translates botocore's errors into typed ones, by what a user can do about them."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from finetuning.errors import Code, FineTuningError, NoCapacity, TransientAwsError
from finetuning.runs.outcomes import is_capacity_error

TRANSIENT = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "ModelNotReadyException",
        "ModelTimeoutException",
        "ConditionalRequestConflict",
        "500",
        "503",
    }
)
"""Error codes after which the same request may succeed: those of botocore's list, of S3, of SageMaker, of Bedrock."""

QUOTA = frozenset({"ResourceLimitExceeded", "ServiceQuotaExceededException", "LimitExceededException"})
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})

TRY_AGAIN = (
    "Usually temporary. Try again in a few minutes: `finetune submit --again RUN` repeats a failed run, "
    "`finetune deploy RUN` only its deployment."
)
"""The fix of a `TransientAwsError`. The state machine retries it before a user sees it."""


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Raises botocore's errors as `FineTuningError`. `action` says what was attempted: "create the model faq"."""
    try:
        yield
    except ClientError as error:
        code, reason = error_code(error), str(error.response.get("Error", {}).get("Message", error))
        if is_capacity_error(f"{code}: {reason}"):
            raise NoCapacity(f"No capacity in AWS: cannot {action}: {reason}") from error
        if code in TRANSIENT:
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
        raise FineTuningError(
            Code.REQUEST_INVALID,
            f"AWS rejected the request: cannot {action}: {code}: {reason}",
            "Compare the message with the run's plan.json, and correct run.json.",
        ) from error
    except BotoCoreError as error:
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE,
            f"Cannot reach AWS to {action}: {error}",
            TRY_AGAIN,
        ) from error


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
