"""A job's log that cannot be read is missing without silence."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from finetuning.aws import logs
from finetuning.aws.clients import client
from finetuning.aws.logs import log_tail


def test_a_log_that_may_not_be_read_is_left_out_and_the_reason_is_logged(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeLogStreams")

    warned: list[dict[str, Any]] = []
    monkeypatch.setattr(client("logs"), "describe_log_streams", refuse)
    monkeypatch.setattr(logs.logger, "warning", lambda message, extra: warned.append(extra["error"]))
    assert log_tail("finetune-dev-pirate") == []
    assert [error["code"] for error in warned] == ["ACCESS_DENIED"]
