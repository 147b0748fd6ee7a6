"""The end of a training job's log."""

from datetime import UTC, datetime
from typing import Any

import pytest

from finetuning.aws import logs
from finetuning.aws.logs import LINES, LONGEST_LINE, log_lines, log_tail
from tests.builders.aws import FakeAws

JOB = "finetune-dev-pirate"


def event(message: str) -> dict[str, Any]:
    return {"message": message, "timestamp": 1_700_000_000_500}


def written(cloud: FakeAws, *lines: str) -> None:
    """Lets the job have a log of two streams; the later one has the lines."""
    streams = [
        {"logStreamName": f"{JOB}/late", "lastEventTimestamp": 2},
        {"logStreamName": f"{JOB}/early", "lastEventTimestamp": 1},
    ]
    cloud["logs"].answers["describe_log_streams"] = {"logStreams": streams}
    cloud["logs"].answers["get_log_events"] = {"events": [event(line) for line in lines]}


def test_the_last_lines_of_the_latest_stream_are_read(cloud: FakeAws) -> None:
    written(cloud, "Loading\n", "", "CUDA out of memory")
    assert log_tail(JOB) == ["Loading", "CUDA out of memory"]
    (request,) = cloud["logs"].requests("get_log_events")
    assert (request["logStreamName"], request["limit"], request["startFromHead"]) == (f"{JOB}/late", LINES, False)


def test_a_line_has_the_time_at_which_it_was_logged(cloud: FakeAws) -> None:
    written(cloud, "x" * 1000 + "\n")
    assert log_lines(JOB) == [(datetime.fromtimestamp(1_700_000_000.5, UTC), "x" * 1000)]


def test_empty_pages_before_the_last_lines_are_followed(cloud: FakeAws) -> None:
    written(cloud)
    pages = {
        None: {"events": [], "nextBackwardToken": "b/1"},  # pragma: allowlist secret
        "b/1": {"events": [], "nextBackwardToken": "b/2"},  # pragma: allowlist secret
        "b/2": {"events": [event("CUDA out of memory")], "nextBackwardToken": "b/3"},  # pragma: allowlist secret
    }
    cloud["logs"].answers["get_log_events"] = lambda nextToken=None, **_: pages[nextToken]  # noqa: N803  # boto3's name
    assert log_tail(JOB) == ["CUDA out of memory"]


def test_a_stream_of_empty_pages_ends_where_its_token_repeats(cloud: FakeAws) -> None:
    written(cloud)
    cloud["logs"].answers["get_log_events"] = {"events": [], "nextBackwardToken": "b/1"}  # pragma: allowlist secret
    assert log_tail(JOB) == []
    assert len(cloud["logs"].requests("get_log_events")) == 2


def test_lines_are_cut_and_made_visible(cloud: FakeAws) -> None:
    written(cloud, "x" * 1000, "a\x1b[2Jb")
    long, hidden = log_tail(JOB)
    assert long.count("x") == LONGEST_LINE
    assert hidden.isprintable()


def test_a_job_without_a_log_has_no_lines(cloud: FakeAws) -> None:
    assert log_tail(JOB) == []


@pytest.mark.parametrize("operation", ["describe_log_streams", "get_log_events"])
def test_a_log_that_may_not_be_read_is_left_out_and_the_reason_is_logged(
    cloud: FakeAws, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    written(cloud, "x")
    cloud["logs"].refuse(operation, "AccessDeniedException")
    warned: list[dict[str, Any]] = []
    monkeypatch.setattr(logs.logger, "warning", lambda message, extra: warned.append(extra["error"]))
    assert log_tail(JOB) == []
    assert [error["code"] for error in warned] == ["ACCESS_DENIED"]
