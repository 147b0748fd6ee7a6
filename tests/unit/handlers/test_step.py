"""What every handler has in common."""

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.errors import DatasetRefused, TransientAwsError
from finetuning.handlers.step import Payload, logger, step


@dataclass
class AnyContext:
    function_name: str = "PrepareShard"
    function_version: str = "1"
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:PrepareShard"
    memory_limit_in_mb: int = 512
    aws_request_id: str = "request"


def log_lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_a_result_passes_through() -> None:
    @step
    def handler(event: Payload) -> Payload:
        return {"seen": event["run_id"]}

    assert handler({"run_id": "faq-0123abcd"}, AnyContext()) == {"seen": "faq-0123abcd"}  # type: ignore[arg-type]


def test_a_typed_failure_is_logged_with_its_code_and_the_run_and_raised_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @step
    def handler(event: Payload) -> Payload:
        raise DatasetRefused("line 7 is not JSON", "Mend it.")

    output = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", output)
    with pytest.raises(DatasetRefused):
        handler({"run_id": "faq-0123abcd"}, AnyContext())  # type: ignore[arg-type]
    logged = next(line for line in log_lines(output.getvalue()) if line.get("level") == "WARNING")
    assert logged["run_id"] == "faq-0123abcd"
    assert logged["error"]["code"] == "DATASET_REFUSED"


def test_throttling_gets_the_name_the_state_machine_retries() -> None:
    @step
    def handler(event: Payload) -> Payload:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "DescribeTrainingJob")

    with pytest.raises(TransientAwsError):
        handler({}, AnyContext())  # type: ignore[arg-type]
