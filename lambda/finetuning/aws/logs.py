"""The end of a training job's log."""

from aws_lambda_powertools import Logger

from finetuning.aws.clients import client
from finetuning.aws.errors import translate_errors
from finetuning.errors import FineTuningError
from finetuning.metrics import TRAINING_LOG_GROUP
from finetuning.report.text import shortened, visible

logger = Logger(child=True)

LINES = 50
LONGEST_LINE = 200
"""Characters kept of a line: enough to show a cause, too few to copy rows of data into a status."""


def log_tail(job_name: str) -> list[str]:
    """The job's last lines, shortened, without control characters. Empty if there is no log or it cannot be read; then
    the function's own log says why.
    """
    logs = client("logs")
    try:
        with translate_errors(f"read the log of {job_name}"):
            found = logs.describe_log_streams(logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=f"{job_name}/")
            streams = found["logStreams"]
            if not streams:
                return []
            latest = max(streams, key=lambda stream: int(stream.get("lastEventTimestamp", 0)))["logStreamName"]
            events = logs.get_log_events(
                logGroupName=TRAINING_LOG_GROUP, logStreamName=latest, limit=LINES, startFromHead=False
            )
    except FineTuningError as error:
        logger.warning("Cannot read the job's log", extra={"error": error.as_dict()})
        return []
    lines = (event["message"].rstrip() for event in events["events"])
    return [visible(shortened(line, LONGEST_LINE)) for line in lines if line]
