"""The end of a training job's log."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.errors import FineTuningError
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.report.text import shortened, visible

logger = Logger(child=True)

LINES = 50
MAX_PAGES = 20
LONGEST_LINE = 200
"""Characters kept of a line: enough to show a cause, too few to copy rows of data into a status."""


def log_tail(job_name: str) -> list[str]:
    """The job's last lines, shortened, without control characters; as `log_lines`."""
    return [visible(shortened(line, LONGEST_LINE)) for _, line in log_lines(job_name)]


def log_lines(job_name: str) -> list[tuple[datetime, str]]:
    """The job's last lines and when they were logged. Empty if there is no log or it cannot be read; then the
    function's own log says why.
    """
    logs = client("logs")
    try:
        with translate_errors(f"read the log of {job_name}"):
            found = logs.describe_log_streams(logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{job_name}/")
            streams = found["logStreams"]
            if not streams:
                return []
            latest = max(streams, key=lambda stream: int(stream.get("lastEventTimestamp", 0)))["logStreamName"]
            events = _last_events(logs, latest)
    except FineTuningError as error:
        logger.warning("Cannot read the job's log", extra={"error": error.as_dict()})
        return []
    lines = ((datetime.fromtimestamp(event["timestamp"] / 1000, UTC), event["message"].rstrip()) for event in events)
    return [(time, line) for time, line in lines if line]


def _last_events(logs: Any, stream: str) -> list[dict[str, Any]]:
    """The last events of the stream. CloudWatch Logs may answer with empty pages before those that have events; the
    token of the last page is that of the request.
    """
    where = {"logGroupName": TRAINING_LOG_GROUP, "logStreamName": stream, "limit": LINES, "startFromHead": False}
    token: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        page = logs.get_log_events(**where, **token)
        following = {"nextToken": page["nextBackwardToken"]} if page.get("nextBackwardToken") else {}
        if page["events"] or not following or following == token:
            break
        token = following
    return list(page["events"])
