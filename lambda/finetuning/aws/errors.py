"""AWS's errors, told apart by what a user can do about them."""

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
        "500",
        "503",
    }
)
"""Error codes after which the same request may succeed: botocore's own list, S3's and SageMaker's."""

QUOTA = frozenset({"ResourceLimitExceeded", "ServiceQuotaExceededException", "LimitExceededException"})
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Turns botocore's errors inside into typed ones. `action` says what was being done: "start the training job"."""
    try:
        yield
    except ClientError as error:
        code, reason = error_code(error), str(error.response.get("Error", {}).get("Message", error))
        if is_capacity_error(f"{code}: {reason}"):
            raise NoCapacity(f"AWS has no capacity to {action}: {reason}") from error
        if code in TRANSIENT:
            raise TransientAwsError(
                Code.AWS_UNAVAILABLE,
                f"AWS could not {action} just now: {reason}",
                "Nothing to do: it is tried again.",
            ) from error
        if code in QUOTA:
            raise FineTuningError(
                Code.QUOTA_EXCEEDED,
                f"A service quota does not allow to {action}: {reason}",
                "Ask for a higher quota in the Service Quotas console, or choose another instance type in run.json.",
            ) from error
        if code in DENIED:
            raise FineTuningError(
                Code.ACCESS_DENIED,
                f"AWS refused permission to {action}: {reason}",
                "Check that no organisation policy denies it, then deploy the stacks again to restore the roles.",
            ) from error
        raise FineTuningError(
            Code.REQUEST_INVALID,
            f"AWS refused to {action}: {code}: {reason}",
            "Compare the message with the run's plan.json; run.json may ask for something this account cannot give.",
        ) from error
    except BotoCoreError as error:
        raise TransientAwsError(
            Code.AWS_UNAVAILABLE,
            f"AWS could not be reached to {action}: {error}",
            "Nothing to do: it is tried again.",
        ) from error
