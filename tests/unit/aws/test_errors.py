"""AWS's errors, distinguished by what a user can do about them."""

import pytest
from botocore.exceptions import EndpointConnectionError

from finetuning.aws.errors import translate_errors
from finetuning.errors import Code, DatasetRefused, FineTuningError, NoCapacity, TransientAwsError
from tests.builders.aws import client_error


@pytest.mark.parametrize(
    ("aws_code", "code"),
    [
        ("ThrottlingException", Code.AWS_UNAVAILABLE),
        ("SlowDown", Code.AWS_UNAVAILABLE),
        ("503", Code.AWS_UNAVAILABLE),
        ("ResourceLimitExceeded", Code.QUOTA_EXCEEDED),
        ("AccessDeniedException", Code.ACCESS_DENIED),
        ("403", Code.ACCESS_DENIED),
        ("ValidationException", Code.REQUEST_INVALID),
    ],
)
def test_each_kind_has_a_code_and_only_what_may_succeed_later_is_retried(aws_code: str, code: Code) -> None:
    with pytest.raises(FineTuningError, match="start the job") as failure, translate_errors("start the job"):
        raise client_error(aws_code, "because")
    assert failure.value.code == code
    assert "because" in failure.value.message
    assert isinstance(failure.value, TransientAwsError) == (code is Code.AWS_UNAVAILABLE)


@pytest.mark.parametrize(
    ("aws_code", "reason"),
    [("InsufficientInstanceCapacity", "no"), ("ValidationException", "CapacityError: Unable to provision")],
)
def test_a_lack_of_capacity_is_told_apart_by_code_or_words(aws_code: str, reason: str) -> None:
    with pytest.raises(NoCapacity), translate_errors("start the job"):
        raise client_error(aws_code, reason)


def test_aws_that_cannot_be_reached_is_tried_again() -> None:
    with pytest.raises(TransientAwsError, match="start the job"), translate_errors("start the job"):
        raise EndpointConnectionError(endpoint_url="https://api.sagemaker.us-east-1.amazonaws.com")


def test_an_error_of_ours_passes_as_it_is() -> None:
    refused = DatasetRefused("line 7 is not JSON", "Fix it.")
    with pytest.raises(DatasetRefused) as raised, translate_errors("start the job"):
        raise refused
    assert raised.value is refused
