"""AWS's errors, distinguished by what a user can do about them."""

import botocore.session
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

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


TRANSIENT_CODES = {*ThrottledRetryableChecker._THROTTLED_ERROR_CODES, *TransientRetryableChecker._TRANSIENT_ERROR_CODES}


@pytest.mark.parametrize("aws_code", sorted(TRANSIENT_CODES - {"LimitExceededException"}))
def test_what_botocore_repeats_is_tried_again_but_for_a_quota(aws_code: str) -> None:
    with pytest.raises(TransientAwsError), translate_errors("start the job"):
        raise client_error(aws_code)


@pytest.mark.parametrize(
    ("service", "shape"),
    [
        ("application-autoscaling", "ConcurrentUpdateException"),
        ("application-autoscaling", "InternalServiceException"),
        ("cloudwatch", "InternalServiceFault"),
        ("sns", "InternalErrorException"),
        ("sns", "KMSThrottlingException"),
        ("sns", "ThrottledException"),
        ("stepfunctions", "KmsThrottlingException"),
        ("sagemaker-runtime", "InternalDependencyException"),
    ],
)
def test_an_internal_error_of_each_service_is_tried_again(service: str, shape: str) -> None:
    described = botocore.session.get_session().get_service_model(service).shape_for(shape)
    with pytest.raises(TransientAwsError), translate_errors("start the job"):
        raise client_error(described.metadata.get("error", {}).get("code", shape))


@pytest.mark.parametrize(
    ("status", "aws_code", "code"),
    [
        (502, "502", Code.AWS_UNAVAILABLE),  # the answer to HEAD has no body, and so no code
        (504, "GatewayTimeout", Code.AWS_UNAVAILABLE),
        (500, "SomethingNew", Code.AWS_UNAVAILABLE),
        (429, "SomethingNew", Code.AWS_UNAVAILABLE),
        (429, "ServiceQuotaExceededException", Code.QUOTA_EXCEEDED),
        (502, "AccessDeniedException", Code.ACCESS_DENIED),
        (400, "SomethingNew", Code.REQUEST_INVALID),
    ],
)
def test_an_error_without_a_known_code_is_told_apart_by_its_status(status: int, aws_code: str, code: Code) -> None:
    answer = {"Error": {"Code": aws_code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(FineTuningError) as failure, translate_errors("look for the file"):
        raise ClientError(answer, "HeadObject")
    assert failure.value.code == code


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


def test_a_request_that_botocore_does_not_send_is_no_lack_of_a_connection() -> None:
    with pytest.raises(FineTuningError, match="start the job") as failure, translate_errors("start the job"):
        raise ParamValidationError(report="Invalid length for parameter EndpointName, value: 0, valid min length: 1")
    assert failure.value.code == Code.REQUEST_INVALID
    assert "EndpointName" in failure.value.message
    assert not isinstance(failure.value, TransientAwsError)


def test_an_error_of_ours_passes_as_it_is() -> None:
    refused = DatasetRefused("line 7 is not JSON", "Fix it.")
    with pytest.raises(DatasetRefused) as raised, translate_errors("start the job"):
        raise refused
    assert raised.value is refused
